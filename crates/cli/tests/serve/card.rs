//! A network card: what its driver says by the control queue, as the control socket sees it.

use ringwright_driver::Options;
use ringwright_driver::network::{Coalescing, Command, Commanded, Extras, Network, Sent};
use ringwright_spec::network::DEVICE;
use ringwright_spec::network::control::NotfCoal;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};

use crate::control::stats;
use crate::support::{Server, wait, wait_until};

#[test]
fn a_card_says_what_it_has_dropped_and_what_it_has_not_notified_of() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "serve network --stream nowhere --socket s --control-queue";
    let _server = Server::start(folder.path(), arguments, 1);
    let socket = folder.path().join("s");
    let frontend = Frontend::connect(&socket, FrontendOptions::new(DEVICE.id)).unwrap();
    let area = frontend.area().clone();
    let extras = Extras {
        commands: true,
        ..Extras::default()
    };
    let mut card = Network::with(frontend, &area, Options::default(), extras).unwrap();
    let together = Coalescing {
        packets: 4,
        microseconds: 600_000_000,
    };
    let command = Command::Coalesce(NotfCoal::TX_SET, together);
    assert_eq!(card.command(command).unwrap(), Commanded::Queued);
    card.publish().unwrap();
    assert!(wait(|| card.answer().unwrap()));

    // There is no link.
    for dropped in 1..=8 {
        assert_eq!(card.send(&[0; 60]).unwrap(), Sent::Queued);
        card.publish().unwrap();
        wait_until(|| stats(folder.path(), "s")["devices"][0]["dropped"]["from_driver"] == dropped);
    }
    let count = |name: &str| {
        let stats = stats(folder.path(), "s");
        stats["devices"][0]["queues"][1][name].as_u64().unwrap()
    };
    // Each fourth packet is one to notify of, which the driver need not want.
    wait_until(|| count("notifications") + count("suppressed") == 2);
    assert_eq!((count("coalesced"), count("buffers")), (6, 8));
}
