//! The protocols that devices are served over.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use ringwright_device::transport::{self, pci};
use ringwright_device::{Device, HostOptions, Meter};
use ringwright_spec::{Features, feature};
use ringwright_vfio_user::server::Server;
use ringwright_vhost_user::backend::{Backend, BackendOptions};
use ringwright_vhost_user::socket::Stop;

/// How a device comes to the virtual machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// vhost-user: the monitor has the registers, the virtqueues are served here.
    #[default]
    VhostUser,
    /// vfio-user: the whole PCI function is served here.
    VfioUser,
}

/// What the user says of a device, whatever the protocol.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long an idle queue looks for work before it sleeps.
    pub busy_poll: Duration,
    /// Features that are not offered.
    pub masked_features: Features,
    /// The processors that queues are served on, wherever there is time if empty.
    pub processors: Vec<usize>,
}

/// A device that is ready to be served.
pub enum Ready {
    VhostUser(Box<Backend>),
    VfioUser(Server),
}

impl Protocol {
    /// Gets `device` ready.
    pub fn ready(self, device: Box<dyn Device>, settings: Settings) -> anyhow::Result<Ready> {
        let Settings {
            busy_poll,
            masked_features,
            processors,
        } = settings;
        Ok(match self {
            Self::VhostUser => {
                let host = HostOptions {
                    busy_poll,
                    processors,
                    ..Default::default()
                };
                let options = BackendOptions {
                    host,
                    masked_features,
                    ..Default::default()
                };
                Ready::VhostUser(Box::new(Backend::new(device, options)?))
            }
            Self::VfioUser => {
                // Whether there is an IOMMU before the function is for the monitor to know: its DMA maps are what that
                // leaves, and a driver that heeds the platform finds its way with and without one.
                let common = transport::Options {
                    busy_poll,
                    masked_features,
                    platform_features: feature::ACCESS_PLATFORM,
                    processors,
                    ..Default::default()
                };
                let options = pci::Options {
                    common,
                    ..Default::default()
                };
                Ready::VfioUser(Server::for_device(device, options)?)
            }
        })
    }
}

impl Ready {
    /// The counters of the device's queues.
    pub fn meter(&self) -> Meter {
        match self {
            Self::VhostUser(backend) => backend.host().meter(),
            Self::VfioUser(server) => server.meter(),
        }
    }

    /// Serves one client after the other until `stop` is raised.
    pub fn serve(&mut self, listener: &UnixListener, stop: &Stop) -> anyhow::Result<()> {
        match self {
            Self::VhostUser(backend) => Ok(backend.serve(listener, stop)?),
            Self::VfioUser(server) => Ok(server.serve(listener, stop)?),
        }
    }

    /// Serves one client on its connection.
    pub fn serve_connection(&mut self, stream: UnixStream, stop: &Stop) -> anyhow::Result<()> {
        match self {
            Self::VhostUser(backend) => Ok(backend.serve_connection(stream, stop)?),
            Self::VfioUser(server) => Ok(server.serve_connection(stream, stop)?),
        }
    }
}
