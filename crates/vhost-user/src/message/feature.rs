//! Protocol features, and the two feature bits of the device that the protocol took for itself.

use ringwright_spec::Features;

/// `VHOST_USER_F_PROTOCOL_FEATURES`: the back-end knows `GET_PROTOCOL_FEATURES` and `SET_PROTOCOL_FEATURES`. VIRTIO
/// reserves the bit and devices do not offer it (chapter 6, "UNUSED").
pub const PROTOCOL_FEATURES: Features = Features::bit(30);

/// `VHOST_F_LOG_ALL`: log every write to guest memory.
pub const LOG_ALL: Features = Features::bit(26);

bits! {
    /// Extensions of the protocol, negotiated once per connection (`VHOST_USER_PROTOCOL_F_*`).
    pub ProtocolFeatures {
        /// The back-end says how many queues it has.
        MQ = 0,
        /// The dirty log is shared memory.
        LOG_SHMFD = 1,
        /// Announce the guest's address after migration.
        RARP = 2,
        /// The sender may ask for an answer to any request.
        REPLY_ACK = 3,
        /// The front-end sets the MTU of a network device.
        MTU = 4,
        /// The back-end may send requests, on a channel of its own.
        BACKEND_REQ = 5,
        /// Legacy rings of the other byte order.
        CROSS_ENDIAN = 6,
        /// Sessions of the crypto device.
        CRYPTO_SESSION = 7,
        /// Migration by page faults.
        PAGEFAULT = 8,
        /// The back-end holds the device configuration space.
        CONFIG = 9,
        /// The back-end may send file descriptors.
        BACKEND_SEND_FD = 10,
        /// The back-end may offer memory to notify it by.
        HOST_NOTIFIER = 11,
        /// Requests in flight are tracked in shared memory.
        INFLIGHT_SHMFD = 12,
        /// The device can be reset.
        RESET_DEVICE = 13,
        /// Notifications by messages instead of file descriptors.
        INBAND_NOTIFICATIONS = 14,
        /// Memory regions are added and removed one by one.
        CONFIGURE_MEM_SLOTS = 15,
        /// The back-end holds the device status.
        STATUS = 16,
        /// Memory regions as Xen has them.
        XEN_MMAP = 17,
        /// Buffers shared between devices.
        SHARED_OBJECT = 18,
        /// The device's state can be saved and loaded.
        DEVICE_STATE = 19,
        /// `GET_VRING_BASE` need not wait for requests in flight, which are tracked.
        GET_VRING_BASE_INFLIGHT = 20,
        /// Guest addresses take the place of user addresses.
        GPA_ADDRESSES = 21,
        /// Shared memory regions, which the back-end maps files into.
        SHMEM = 22,
    }
}
