//! What the network device adds to the administration commands (sections 5.1.6 to 5.1.8):
//! capabilities, resource objects and device parts.

use super::control::{Announce, Class, Mac, Mq, Rx, Vlan};

constants! {
    /// Capability ids, the `VIRTIO_NET_..._CAP` values.
    pub CapId: u16 {
        /// Limits of flow filters, [`CapData`](super::filter::CapData).
        FF_RESOURCE_CAP = 0x0800,
        /// Selectors of flow filters, [`CapMaskData`](super::filter::CapMaskData).
        FF_SELECTOR_CAP = 0x0801,
        /// Actions of flow filters, [`Actions`](super::filter::Actions).
        FF_ACTION_CAP = 0x0802,
        /// Limits of IPsec, [`ResourceCap`](super::ipsec::ResourceCap).
        IPSEC_RESOURCE_CAP = 0x0803,
        /// Modes of IPsec, [`SaCapData`](super::ipsec::SaCapData).
        IPSEC_SA_CAP = 0x0804,
    }

    /// Types of resource objects, the `VIRTIO_NET_RESOURCE_OBJ_` values.
    pub ResourceType: u16 {
        /// Group of flow filter rules, [`Group`](super::filter::Group).
        FF_GROUP = 0x0200,
        /// Classifier of flow filters, [`Classifier`](super::filter::Classifier).
        FF_CLASSIFIER = 0x0201,
        /// Flow filter rule, [`Rule`](super::filter::Rule).
        FF_RULE = 0x0202,
        /// Outbound security association, [`ResourceObjSa256bKey`](super::ipsec::ResourceObjSa256bKey).
        IPSEC_OUTB_SA = 0x0203,
        /// Inbound security association, [`ResourceObjSa256bKey`](super::ipsec::ResourceObjSa256bKey).
        IPSEC_INB_SA = 0x0204,
    }

    /// Types of device parts, the `VIRTIO_NET_DEV_PART_` values.
    pub PartType: u16 {
        /// What one command of the control virtqueue configured, selected by a [`CvqSelector`]; its value is the data
        /// of that command, and for `VLAN_ADD` the whole table.
        CVQ_CFG_PART = 0x200,
    }
}

wire! {
    /// Selector of `CVQ_CFG_PART`, `struct virtio_net_dev_part_cvq_selector`.
    pub struct CvqSelector {
        /// A [`Class`].
        pub class: u8,
        /// A command of that class.
        pub command: u8,
        /// Reserved, 0.
        pub reserved: [u8; 6],
    }
}

layout!(CvqSelector, 8, class @ 0, command @ 1, reserved @ 2);

impl CvqSelector {
    /// The selectors that exist.
    pub const ALL: &'static [Self] = &[
        Self::new(Class::RX, Rx::PROMISC.0),
        Self::new(Class::RX, Rx::ALLMULTI.0),
        Self::new(Class::RX, Rx::ALLUNI.0),
        Self::new(Class::RX, Rx::NOMULTI.0),
        Self::new(Class::RX, Rx::NOUNI.0),
        Self::new(Class::RX, Rx::NOBCAST.0),
        Self::new(Class::MAC, Mac::TABLE_SET.0),
        Self::new(Class::MAC, Mac::ADDR_SET.0),
        Self::new(Class::VLAN, Vlan::ADD.0),
        Self::new(Class::ANNOUNCE, Announce::ACK.0),
        Self::new(Class::MQ, Mq::VQ_PAIRS_SET.0),
        Self::new(Class::MQ, Mq::RSS_CONFIG.0),
        Self::new(Class::MQ, Mq::HASH_CONFIG.0),
    ];

    /// The selector of this command.
    pub const fn new(class: Class, command: u8) -> Self {
        Self {
            class: class.0,
            command,
            reserved: [0; 6],
        }
    }
}
