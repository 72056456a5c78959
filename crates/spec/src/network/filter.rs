//! Flow filters (section 5.1.9.6): capabilities and resource objects by which a driver drops or directs the packets it
//! chooses.

use crate::data::{Le16, Le32};

wire! {
    /// Capability `FF_RESOURCE_CAP`, `struct virtio_net_ff_cap_data`.
    pub struct CapData {
        /// Most groups.
        pub groups_limit: Le32,
        /// Most classifiers.
        pub classifiers_limit: Le32,
        /// Most rules, of all groups together.
        pub rules_limit: Le32,
        /// Most rules of one group.
        pub rules_per_group_limit: Le32,
        /// Highest priority of a rule.
        pub last_rule_priority: u8,
        /// Most selectors of one classifier.
        pub selectors_per_classifier_limit: u8,
        /// Reserved, 0.
        pub reserved: [u8; 2],
    }

    /// Capability `FF_SELECTOR_CAP`, `struct virtio_net_ff_cap_mask_data`; `count` [`Selector`]s follow, ordered by
    /// type.
    pub struct CapMaskData {
        /// Number of selectors.
        pub count: u8,
        /// Reserved.
        pub reserved: [u8; 7],
    }

    /// Which fields of one header are compared, `struct virtio_net_ff_selector`; the mask follows, `length` bytes in
    /// network byte order.
    pub struct Selector {
        /// A [`MaskType`].
        pub r#type: u8,
        /// [`MaskFlags`].
        pub flags: u8,
        /// Reserved, 0.
        pub reserved: [u8; 2],
        /// Bytes of the mask.
        pub length: u8,
        /// Reserved, 0.
        pub reserved1: [u8; 3],
    }

    /// Capability `FF_ACTION_CAP`, `struct virtio_net_ff_actions` (also called `virtio_net_ff_cap_actions`); `count`
    /// bytes of [`Action`] follow, in ascending order.
    pub struct Actions {
        /// Number of actions.
        pub count: u8,
        /// Reserved.
        pub reserved: [u8; 7],
    }

    /// Resource object `FF_GROUP`, `struct virtio_net_resource_obj_ff_group`.
    pub struct Group {
        /// Priority, distinct for each group; higher ones are tried first.
        pub group_priority: Le16,
    }

    /// Resource object `FF_CLASSIFIER`, `struct virtio_net_resource_obj_ff_classifier`; `count` [`Selector`]s follow,
    /// from the outer header to the inner.
    pub struct Classifier {
        /// Number of selectors.
        pub count: u8,
        /// Reserved.
        pub reserved: [u8; 7],
    }

    /// Resource object `FF_RULE`, `struct virtio_net_resource_obj_ff_rule`; the keys follow, one for each selector of
    /// the classifier, without gaps.
    pub struct Rule {
        /// Id of the group.
        pub group_id: Le32,
        /// Id of the classifier.
        pub classifier_id: Le32,
        /// Priority within the group; higher ones are tried first.
        pub rule_priority: u8,
        /// Bytes of all keys.
        pub key_length: u8,
        /// An [`Action`].
        pub action: u8,
        /// Reserved, 0.
        pub reserved: u8,
        /// For `DIRECT_RX_VQ`: index of the receive virtqueue.
        pub vq_index: Le16,
        /// Reserved, 0.
        pub reserved1: [u8; 2],
    }
}

layout!(CapData, 20, groups_limit @ 0, classifiers_limit @ 4, rules_limit @ 8, rules_per_group_limit @ 12,
    last_rule_priority @ 16, selectors_per_classifier_limit @ 17, reserved @ 18);
layout!(CapMaskData, 8, count @ 0, reserved @ 1);
layout!(Selector, 8, r#type @ 0, flags @ 1, reserved @ 2, length @ 4, reserved1 @ 5);
layout!(Actions, 8, count @ 0, reserved @ 1);
layout!(Group, 2, group_priority @ 0);
layout!(Classifier, 8, count @ 0, reserved @ 1);
layout!(Rule, 16, group_id @ 0, classifier_id @ 4, rule_priority @ 8, key_length @ 9, action @ 10, reserved @ 11,
    vq_index @ 12, reserved1 @ 14);

flags! {
    /// Flags of a [`Selector`], the `VIRTIO_NET_FF_MASK_F_` values.
    pub MaskFlags: u8 {
        /// Fields can be compared in part.
        PARTIAL_MASK = 1 << 0,
    }
}

constants! {
    /// The header that a [`Selector`] compares, the `VIRTIO_NET_FF_MASK_TYPE_` values.
    pub MaskType: u8 {
        /// The 14 bytes of an Ethernet header.
        ETH = 0x1,
        /// The 20 bytes of an IPv4 header without options.
        IPV4 = 0x2,
        /// The 40 bytes of an IPv6 header; "next header" is that of the last extension header.
        IPV6 = 0x3,
        /// The 20 bytes of a TCP header.
        TCP = 0x4,
        /// The 8 bytes of a UDP header.
        UDP = 0x5,
        /// The 8 bytes of an ESP header.
        ESP = 0x6,
    }

    /// What happens to a packet, the `VIRTIO_NET_FF_ACTION_` values.
    pub Action: u8 {
        /// It is dropped.
        DROP = 0x1,
        /// It goes to a receive virtqueue.
        DIRECT_RX_VQ = 0x2,
        /// It undergoes IPsec.
        IPSEC = 0x3,
        /// It undergoes IPsec and then the filters again, once.
        IPSEC_RECIRCULATE = 0x4,
    }
}
