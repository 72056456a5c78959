//! Feature bits of the network device (section 5.1.3), with each rule of "Feature bit requirements".

// Two rules are stated elsewhere in another way. RSC_EXT "implies one of" the GUEST_TSO bits, says section 5.1.9.4; the
// list of requirements wants one of the HOST_TSO bits, and it is the list that both ends check. CTRL_GUEST_OFFLOADS,
// CTRL_RX_EXTRA and DEVICE_STATS are of no use without CTRL_VQ, and HASH_REPORT hardly is, but the list does not name
// them: a device must not refuse such a set, and a driver must not be stopped from choosing it.
features! {
    /// The device handles packets with partial checksum.
    CSUM = 0;
    /// The driver handles packets with partial checksum.
    GUEST_CSUM = 1;
    /// The control virtqueue can switch the driver's offloads.
    CTRL_GUEST_OFFLOADS = 2;
    /// The device's maximum MTU is in `mtu`.
    MTU = 3;
    /// The device has a MAC address, in `mac`.
    MAC = 5;
    /// The driver receives TSOv4.
    GUEST_TSO4 = 7 requires [GUEST_CSUM];
    /// The driver receives TSOv6.
    GUEST_TSO6 = 8 requires [GUEST_CSUM];
    /// The driver receives TSO with ECN.
    GUEST_ECN = 9 requires [GUEST_TSO4 | GUEST_TSO6];
    /// The driver receives UFO.
    GUEST_UFO = 10 requires [GUEST_CSUM];
    /// The device receives TSOv4.
    HOST_TSO4 = 11 requires [CSUM];
    /// The device receives TSOv6.
    HOST_TSO6 = 12 requires [CSUM];
    /// The device receives TSO with ECN.
    HOST_ECN = 13 requires [HOST_TSO4 | HOST_TSO6];
    /// The device receives UFO.
    HOST_UFO = 14 requires [CSUM];
    /// The driver merges receive buffers.
    MRG_RXBUF = 15;
    /// The field `status` is available.
    STATUS = 16;
    /// The device has a control virtqueue.
    CTRL_VQ = 17;
    /// The control virtqueue sets receive modes.
    CTRL_RX = 18 requires [CTRL_VQ];
    /// The control virtqueue sets the VLAN filter.
    CTRL_VLAN = 19 requires [CTRL_VQ];
    /// The control virtqueue sets more receive modes.
    CTRL_RX_EXTRA = 20;
    /// The driver sends gratuitous packets when asked.
    GUEST_ANNOUNCE = 21 requires [CTRL_VQ];
    /// Several pairs of virtqueues, with automatic receive steering.
    MQ = 22 requires [CTRL_VQ];
    /// The control virtqueue sets the MAC address.
    CTRL_MAC_ADDR = 23 requires [CTRL_VQ];
    /// The device has statistics.
    DEVICE_STATS = 50;
    /// The device hashes the inner header of encapsulated packets.
    HASH_TUNNEL = 51 requires [CTRL_VQ, RSS | HASH_REPORT];
    /// Notifications can be coalesced, for each virtqueue.
    VQ_NOTF_COAL = 52 requires [CTRL_VQ];
    /// Notifications can be coalesced.
    NOTF_COAL = 53 requires [CTRL_VQ];
    /// The driver receives USOv4.
    GUEST_USO4 = 54 requires [GUEST_CSUM];
    /// The driver receives USOv6.
    GUEST_USO6 = 55 requires [GUEST_CSUM];
    /// The device receives USO.
    HOST_USO = 56 requires [CSUM];
    /// The device reports the hash of each packet and its type.
    HASH_REPORT = 57;
    /// The driver sets `hdr_len` exactly.
    GUEST_HDRLEN = 59;
    /// Receive-side scaling with the Toeplitz hash.
    RSS = 60 requires [CTRL_VQ];
    /// The device reports coalesced segments and duplicated ACKs.
    RSC_EXT = 61 requires [HOST_TSO4 | HOST_TSO6];
    /// The device may stand by for a primary device with the same MAC address.
    STANDBY = 62;
    /// The device reports `speed` and `duplex`.
    SPEED_DUPLEX = 63;
    /// Several RSS contexts.
    RSS_CONTEXT = 64 requires [CTRL_VQ, RSS];
    /// The driver receives GSO packets in a UDP tunnel.
    GUEST_UDP_TUNNEL_GSO = 65 requires [GUEST_TSO4, GUEST_TSO6, GUEST_USO4, GUEST_USO6];
    /// The driver handles partial checksums of the outer header of a UDP tunnel.
    GUEST_UDP_TUNNEL_GSO_CSUM = 66 requires [GUEST_UDP_TUNNEL_GSO];
    /// The device receives GSO packets in a UDP tunnel.
    HOST_UDP_TUNNEL_GSO = 67 requires [HOST_TSO4, HOST_TSO6, HOST_USO];
    /// The device handles partial checksums of the outer header of a UDP tunnel.
    HOST_UDP_TUNNEL_GSO_CSUM = 68 requires [HOST_UDP_TUNNEL_GSO];
    /// The header says where the outer network header starts.
    OUT_NET_HEADER = 69;
    /// Inline IPsec.
    IPSEC = 70;
    /// Legacy: the device handles packets of any GSO type.
    GSO = 6 legacy;
    /// Legacy: the device coalesces TCP over IPv4; used once for a certification. The same bit is the reserved feature
    /// ADMIN_VQ.
    GUEST_RSC4 = 41 legacy;
    /// Legacy: as `GUEST_RSC4`, for IPv6.
    GUEST_RSC6 = 42 legacy;
}
