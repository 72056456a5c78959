//! Frames of which a part is left to whoever takes them: a checksum, and the cutting into segments (sections 5.1.9.2 and
//! 5.1.9.4). A backend that carries headers takes and gives them as they are; for others they are completed here.

mod checksum;
mod cutter;
mod partial;
#[cfg(test)]
pub(super) mod tests;

use ringwright_spec::Features;
use ringwright_spec::network::control::GuestOffloads;
use ringwright_spec::network::features;

pub(super) use cutter::Cutter;
pub use partial::Partial;

/// What a driver may leave to the device. `VIRTIO_NET_F_GUEST_HDRLEN` is not among it: the length of headers is always
/// looked up in the frame (dev:net:packet-transmission:07).
pub const TRANSMITTED: Features = features::CSUM
    .union(features::HOST_TSO4)
    .union(features::HOST_TSO6)
    .union(features::HOST_ECN)
    .union(features::HOST_UFO)
    .union(features::HOST_USO)
    .union(features::HOST_UDP_TUNNEL_GSO)
    .union(features::HOST_UDP_TUNNEL_GSO_CSUM);

/// What a device may leave to the driver.
pub const RECEIVED: Features = features::GUEST_CSUM
    .union(features::GUEST_TSO4)
    .union(features::GUEST_TSO6)
    .union(features::GUEST_ECN)
    .union(features::GUEST_UFO)
    .union(features::GUEST_USO4)
    .union(features::GUEST_USO6)
    .union(features::GUEST_UDP_TUNNEL_GSO)
    .union(features::GUEST_UDP_TUNNEL_GSO_CSUM);

/// The features of the offloads that a driver switches on by a command. `None` if there are none of them.
pub(super) fn of_command(offloads: GuestOffloads) -> Option<Features> {
    let tunnels = [
        (
            GuestOffloads::GUEST_UDP_TUNNEL_GSO,
            features::GUEST_UDP_TUNNEL_GSO,
        ),
        (
            GuestOffloads::GUEST_UDP_TUNNEL_GSO_CSUM,
            features::GUEST_UDP_TUNNEL_GSO_CSUM,
        ),
    ];
    let mut wanted = Features(offloads.0.into());
    for (bit, feature) in tunnels {
        if offloads.contains(bit) {
            wanted = (wanted - Features(bit.0.into())) | feature;
        }
    }
    RECEIVED.contains(wanted).then_some(wanted)
}
