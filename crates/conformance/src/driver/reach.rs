//! What of a driver can be seen where it is.

use ringwright_spec::{DeviceType, Features, block, console, entropy, network};

use super::rule::Rule;
use super::scenario::{Completes, Oddity, Scenario};
use crate::subject::Bus;

const STATUS: &str = "the device status is the front-end's";
const CONFIG: &str = "the configuration space is the front-end's, which passes on what it likes";
const FEATURES: &str =
    "the front-end has features of its own, and accepts those of the back-end in its own name";
const RESET: &str = "the front-end resets virtqueues";
const NOTIFICATION: &str = "a notification is a descriptor's, and carries no data";
const BUS: &str = "the bus of the driver is not known";

/// Rules that a vhost-user front-end stands before, by name, or by the first part of it.
const HIDDEN: &[(&str, &str)] = &[
    ("init.", STATUS),
    ("cleanup.reset", STATUS),
    ("suspend.", STATUS),
    ("status.", STATUS),
    ("features.offered", FEATURES),
    ("features.valid", FEATURES),
    ("features.missing", STATUS),
    ("features.unknown", STATUS),
    ("feat.version-1", STATUS),
    ("feat.translated", "addresses are translated by the front-end"),
    ("feat.sr-iov", BUS),
    ("config.", CONFIG),
    ("net.config-read-only", CONFIG),
    ("net.mac", CONFIG),
    ("net.mtu-buffers", CONFIG),
    ("net.header-size", CONFIG),
    ("net.mac-feature", FEATURES),
    ("net.mtu-feature", FEATURES),
    ("net.local-mac", FEATURES),
    ("net.hash-report-alone", FEATURES),
    ("net.rx-extra-alone", FEATURES),
    ("blk.writeback-late", CONFIG),
    ("queue-reset.", RESET),
    ("packed.notification-data", NOTIFICATION),
];

impl Rule {
    /// Why it has nothing to say of a driver of devices of type `device` on `bus`, if it has not.
    pub fn is_not_applicable(&self, device: &DeviceType, bus: Bus) -> Option<String> {
        let (part, _) = self.check.name.split_once('.').unwrap_or_default();
        let bus_of_rule = [Bus::Mmio, Bus::Pci, Bus::Ccw]
            .into_iter()
            .find(|bus| bus.name() == part);
        let device_of_rule = match part {
            "blk" => Some(&block::DEVICE),
            "net" => Some(&network::DEVICE),
            "console" => Some(&console::DEVICE),
            "entropy" => Some(&entropy::DEVICE),
            _ => None,
        };
        if let Some(other) = bus_of_rule.filter(|other| *other != bus) {
            return Some(format!("it is about the bus {other}"));
        }
        if let Some(other) = device_of_rule.filter(|other| other.id != device.id) {
            return Some(format!("it is about the device type {}", other.name));
        }
        let hidden = HIDDEN.iter().filter(|_| bus == Bus::VhostUser);
        hidden
            .into_iter()
            .find(|(name, _)| {
                let is_group = name.ends_with('.') && self.check.name.starts_with(name);
                is_group || self.check.name == *name
            })
            .map(|(_, why)| (*why).to_owned())
    }
}

impl Scenario {
    /// Whether a device of type `device` on `bus` can be like this.
    pub fn is_for(&self, device: &DeviceType, bus: Bus) -> bool {
        // The status, the size of virtqueues, what they are reset by and commands to network cards are the front-end's.
        let has_commands = self.device == Some(network::DEVICE.id)
            && (self.offers)(Features::NONE).contains(network::features::CTRL_VQ);
        let can_be_behind_a_front_end = !self.refuses
            && !self.translates
            && self.slow == 0
            && self.restless == 0
            && !self.changes
            && self.demands_reset == 0
            && self.queue_size == Self::PLAIN.queue_size
            && !has_commands
            && self.name != "old";
        self.bus.is_none_or(|own| own == bus)
            && self.device.is_none_or(|own| own == device.id)
            && (bus != Bus::VhostUser || can_be_behind_a_front_end)
    }

    /// Whether drivers of other programs can be expected to come to an end with such a device.
    pub fn is_bearable(&self) -> bool {
        self.completes != Completes::Never && self.function.oddity != Oddity::Window
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules;
    use super::*;

    #[test]
    fn what_a_front_end_hides_are_rules() {
        for (name, _) in HIDDEN {
            let is_meant = |rule: &Rule| {
                let own = rule.check.name;
                own == *name || name.ends_with('.') && own.starts_with(name)
            };
            assert!(rules().any(is_meant), "{name}");
        }
    }

    #[test]
    fn rules_of_other_buses_and_device_types_are_not_applicable() {
        let of = |device, bus| {
            let open = rules().filter(move |rule| rule.is_not_applicable(device, bus).is_none());
            open.map(|rule| rule.check.name).collect::<Vec<_>>()
        };
        let disk = of(&block::DEVICE, Bus::Pci);
        assert!(
            disk.contains(&"pci.found") && disk.contains(&"blk.capacity") && disk.contains(&"init.order")
        );
        assert!(!disk.contains(&"mmio.width") && !disk.contains(&"net.mtu"));
        let card = of(&network::DEVICE, Bus::VhostUser);
        assert!(card.contains(&"net.mtu") && card.contains(&"split.notify"));
        assert!(
            !card.contains(&"init.order") && !card.contains(&"pci.found") && !card.contains(&"blk.capacity")
        );
    }
}
