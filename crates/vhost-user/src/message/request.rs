//! The requests of both directions, and what the text says about the form of each.

use super::{
    Config, DeviceState, Inflight, Iotlb, Log, MAX_DESCRIPTORS, MAX_PAYLOAD, MemoryTable, ProtocolFeatures,
    SharedObject, SingleRegion, VringAddress, VringState,
};

numbers! {
    /// A request of the front-end (`VHOST_USER_*`).
    pub Request {
        /// Which device features the back-end offers.
        GET_FEATURES = 1,
        /// Which of them the driver acknowledged.
        SET_FEATURES = 2,
        /// The session starts.
        SET_OWNER = 3,
        /// Deprecated: disable all rings.
        RESET_OWNER = 4,
        /// All memory regions at once.
        SET_MEM_TABLE = 5,
        /// The shared memory of the dirty log.
        SET_LOG_BASE = 6,
        /// A file descriptor to signal that the log was written.
        SET_LOG_FD = 7,
        /// Size of a vring.
        SET_VRING_NUM = 8,
        /// Addresses of a vring.
        SET_VRING_ADDR = 9,
        /// Where a vring goes on.
        SET_VRING_BASE = 10,
        /// Stop a vring and say where it stopped.
        GET_VRING_BASE = 11,
        /// The file descriptor that says: there are buffers.
        SET_VRING_KICK = 12,
        /// The file descriptor to signal when buffers are used.
        SET_VRING_CALL = 13,
        /// The file descriptor to signal an error on.
        SET_VRING_ERR = 14,
        /// Which protocol features the back-end offers.
        GET_PROTOCOL_FEATURES = 15,
        /// Which of them are to be used.
        SET_PROTOCOL_FEATURES = 16,
        /// How many queues the back-end has.
        GET_QUEUE_NUM = 17,
        /// Enable or disable a vring.
        SET_VRING_ENABLE = 18,
        /// Announce the guest's address.
        SEND_RARP = 19,
        /// The MTU of the network.
        NET_SET_MTU = 20,
        /// The channel for the back-end's own requests.
        SET_BACKEND_REQ_FD = 21,
        /// A change of address translations.
        IOTLB_MSG = 22,
        /// Byte order of a legacy vring.
        SET_VRING_ENDIAN = 23,
        /// Read the configuration space.
        GET_CONFIG = 24,
        /// Write the configuration space.
        SET_CONFIG = 25,
        /// Open a crypto session.
        CREATE_CRYPTO_SESSION = 26,
        /// Close a crypto session.
        CLOSE_CRYPTO_SESSION = 27,
        /// A migration by page faults will come.
        POSTCOPY_ADVISE = 28,
        /// A migration by page faults begins.
        POSTCOPY_LISTEN = 29,
        /// A migration by page faults is over.
        POSTCOPY_END = 30,
        /// The back-end creates memory to track requests in flight.
        GET_INFLIGHT_FD = 31,
        /// The front-end gives that memory back.
        SET_INFLIGHT_FD = 32,
        /// The socket of the GPU protocol.
        GPU_SET_SOCKET = 33,
        /// Reset the device.
        RESET_DEVICE = 34,
        /// There are buffers in a vring.
        VRING_KICK = 35,
        /// How many memory regions the back-end can hold.
        GET_MAX_MEM_SLOTS = 36,
        /// One memory region more.
        ADD_MEM_REG = 37,
        /// One memory region less.
        REM_MEM_REG = 38,
        /// The device status is written.
        SET_STATUS = 39,
        /// The device status is read.
        GET_STATUS = 40,
        /// The file of a shared buffer.
        GET_SHARED_OBJECT = 41,
        /// The file through which the device's state moves.
        SET_DEVICE_STATE_FD = 42,
        /// Whether the device's state arrived.
        CHECK_DEVICE_STATE = 43,
        /// Sizes of the shared memory regions.
        GET_SHMEM_CONFIG = 44,
    }
}

numbers! {
    /// A request of the back-end (`VHOST_USER_BACKEND_*`), on the channel given by `SET_BACKEND_REQ_FD`.
    pub BackendRequest {
        /// A translation is missing, or an access failed.
        IOTLB_MSG = 1,
        /// The configuration space changed.
        CONFIG_CHANGE_MSG = 2,
        /// Memory to notify a vring by.
        VRING_HOST_NOTIFIER_MSG = 3,
        /// Buffers of a vring were used.
        VRING_CALL = 4,
        /// A vring has an error.
        VRING_ERR = 5,
        /// A buffer can be shared.
        SHARED_OBJECT_ADD = 6,
        /// A buffer can be shared no longer.
        SHARED_OBJECT_REMOVE = 7,
        /// Look for a shared buffer.
        SHARED_OBJECT_LOOKUP = 8,
        /// Map a file into a shared memory region.
        SHMEM_MAP = 9,
        /// Remove such a mapping.
        SHMEM_UNMAP = 10,
    }
}

/// What form a request must have, and when it may come. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Smallest payload.
    pub smallest: usize,
    /// Largest payload. Some front-ends pad the memory table, so this is more than the smallest there.
    pub largest: usize,
    /// Fewest file descriptors.
    pub fewest: usize,
    /// Most file descriptors.
    pub most: usize,
    /// Protocol features without which the request is not known; all of them.
    pub needs: ProtocolFeatures,
    /// Whether the request has an answer of its own, which takes the place of the one for `NEED_REPLY`.
    pub answered: bool,
}

impl Rule {
    /// A request with a payload of exactly `size` bytes, without descriptors, always known, not answered.
    const fn of(size: usize) -> Self {
        Self {
            smallest: size,
            largest: size,
            fewest: 0,
            most: 0,
            needs: ProtocolFeatures::NONE,
            answered: false,
        }
    }

    /// A request without payload.
    const EMPTY: Self = Self::of(0);

    const fn up_to(self, largest: usize) -> Self {
        Self { largest, ..self }
    }

    const fn descriptors(self, fewest: usize, most: usize) -> Self {
        Self { fewest, most, ..self }
    }

    const fn needs(self, needs: ProtocolFeatures) -> Self {
        Self { needs, ..self }
    }

    const fn answered(self) -> Self {
        Self {
            answered: true,
            ..self
        }
    }
}

impl Request {
    /// The form of this request, or `None` if the number is not known.
    pub fn rule(self) -> Option<Rule> {
        use ProtocolFeatures as F;
        const NUMBER: Rule = Rule::of(size_of::<u64>());
        const STATE: Rule = Rule::of(size_of::<VringState>());
        Some(match self {
            Self::GET_FEATURES | Self::GET_PROTOCOL_FEATURES => Rule::EMPTY.answered(),
            Self::SET_FEATURES | Self::SET_PROTOCOL_FEATURES => NUMBER,
            Self::SET_OWNER | Self::RESET_OWNER => Rule::EMPTY,
            Self::SET_MEM_TABLE => Rule::of(size_of::<MemoryTable>())
                .up_to(MAX_PAYLOAD)
                .descriptors(0, MAX_DESCRIPTORS),
            Self::SET_LOG_BASE => Rule::of(size_of::<Log>())
                .descriptors(1, 1)
                .needs(F::LOG_SHMFD)
                .answered(),
            Self::SET_LOG_FD => Rule::EMPTY.descriptors(1, 1).needs(F::LOG_SHMFD),
            Self::SET_VRING_NUM | Self::SET_VRING_BASE | Self::SET_VRING_ENABLE => STATE,
            Self::SET_VRING_ADDR => Rule::of(size_of::<VringAddress>()),
            Self::GET_VRING_BASE => STATE.answered(),
            Self::SET_VRING_KICK | Self::SET_VRING_CALL | Self::SET_VRING_ERR => NUMBER.descriptors(0, 1),
            Self::GET_QUEUE_NUM => Rule::EMPTY.needs(F::MQ).answered(),
            Self::SEND_RARP => NUMBER.needs(F::RARP),
            Self::NET_SET_MTU => NUMBER.needs(F::MTU),
            Self::SET_BACKEND_REQ_FD => Rule::EMPTY.descriptors(1, 1).needs(F::BACKEND_REQ),
            Self::IOTLB_MSG => Rule::of(size_of::<Iotlb>()).answered(),
            Self::SET_VRING_ENDIAN => STATE.needs(F::CROSS_ENDIAN),
            Self::GET_CONFIG => Rule::of(size_of::<Config>())
                .up_to(MAX_PAYLOAD)
                .needs(F::CONFIG)
                .answered(),
            Self::SET_CONFIG => Rule::of(size_of::<Config>()).up_to(MAX_PAYLOAD).needs(F::CONFIG),
            Self::CREATE_CRYPTO_SESSION => Rule::EMPTY.up_to(MAX_PAYLOAD).needs(F::CRYPTO_SESSION).answered(),
            Self::CLOSE_CRYPTO_SESSION => NUMBER.needs(F::CRYPTO_SESSION),
            Self::POSTCOPY_ADVISE | Self::POSTCOPY_END => Rule::EMPTY.needs(F::PAGEFAULT).answered(),
            Self::POSTCOPY_LISTEN => Rule::EMPTY.needs(F::PAGEFAULT),
            Self::GET_INFLIGHT_FD => Rule::of(size_of::<Inflight>())
                .needs(F::INFLIGHT_SHMFD)
                .answered(),
            Self::SET_INFLIGHT_FD => Rule::of(size_of::<Inflight>())
                .descriptors(1, 1)
                .needs(F::INFLIGHT_SHMFD),
            Self::GPU_SET_SOCKET => Rule::EMPTY.descriptors(1, 1),
            Self::RESET_DEVICE => Rule::EMPTY.needs(F::RESET_DEVICE),
            Self::VRING_KICK => STATE.needs(F::INBAND_NOTIFICATIONS),
            Self::GET_MAX_MEM_SLOTS => Rule::EMPTY.needs(F::CONFIGURE_MEM_SLOTS).answered(),
            Self::ADD_MEM_REG => Rule::of(size_of::<SingleRegion>())
                .descriptors(1, 1)
                .needs(F::CONFIGURE_MEM_SLOTS),
            // "For compatibility with existing incorrect implementations, the back-end MAY accept messages with one
            // file descriptor."
            Self::REM_MEM_REG => Rule::of(size_of::<SingleRegion>())
                .descriptors(0, 1)
                .needs(F::CONFIGURE_MEM_SLOTS),
            Self::SET_STATUS => NUMBER.needs(F::STATUS),
            Self::GET_STATUS => Rule::EMPTY.needs(F::STATUS).answered(),
            Self::GET_SHARED_OBJECT => Rule::of(size_of::<SharedObject>())
                .needs(F::SHARED_OBJECT)
                .answered(),
            Self::SET_DEVICE_STATE_FD => Rule::of(size_of::<DeviceState>())
                .descriptors(1, 1)
                .needs(F::DEVICE_STATE)
                .answered(),
            Self::CHECK_DEVICE_STATE => Rule::EMPTY.needs(F::DEVICE_STATE).answered(),
            Self::GET_SHMEM_CONFIG => Rule::EMPTY.needs(F::SHMEM).answered(),
            _ => return None,
        })
    }
}
