//! What the client is told.

use super::*;

#[test]
fn versions_are_agreed_on_or_not() {
    let dialogue = Dialogue::silent();
    // Nothing comes before VERSION.
    assert_eq!(dialogue.tell(Command::DeviceReset, &()), Err(EINVAL));
    let proposal = Version { major: 0, minor: 1 };
    let reply = dialogue.ask(Command::Version, proposal.as_bytes(), &[]).unwrap();
    let (agreed, data) = reply.read_prefix::<Version>().unwrap();
    assert_eq!(agreed, proposal);
    let data = VersionData::from_bytes(data).unwrap();
    // "The capability list must be a subset of those proposed", which said nothing about this one.
    assert!(!data.capabilities.write_multiple);
    assert_eq!(data.capabilities.max_msg_fds, 16);
    // Once is enough.
    assert_eq!(dialogue.tell(Command::Version, &proposal), Err(EINVAL));

    let dialogue = Dialogue::silent();
    let future = Version {
        major: 0,
        minor: u16::MAX,
    };
    let payload = [
        future.as_bytes(),
        br#"{"capabilities":{"write_multiple":true}}"#,
        &[0],
    ]
    .concat();
    let reply = dialogue.ask(Command::Version, &payload, &[]).unwrap();
    let (agreed, data) = reply.read_prefix::<Version>().unwrap();
    assert_eq!(agreed, VERSION);
    assert_eq!(data.last(), Some(&0));
    assert!(VersionData::from_bytes(data).unwrap().capabilities.write_multiple);

    for wrong in [
        [1u16.to_ne_bytes(), [0; 2]].concat(),
        [[0; 4].as_slice(), b"no json\0"].concat(),
        vec![0; 3],
    ] {
        let mut dialogue = Dialogue::silent();
        assert_eq!(dialogue.ask(Command::Version, &wrong, &[]).unwrap_err(), EINVAL);
        if wrong.len() > 3 {
            assert!(dialogue.outcome().is_err(), "the connection ends");
        }
    }
}

#[test]
fn the_device_is_a_pci_device_that_can_be_reset() {
    let dialogue = Dialogue::new();
    let asked = DeviceInfo {
        argsz: 16,
        ..DeviceInfo::default()
    };
    let (info, _) = dialogue
        .get::<DeviceInfo>(Command::DeviceGetInfo, &asked)
        .unwrap();
    assert_eq!(
        (info.flags, info.num_regions, info.num_irqs),
        (DeviceInfo::PCI | DeviceInfo::RESET, 9, 3)
    );
    let short = DeviceInfo { argsz: 15, ..asked };
    assert_eq!(dialogue.tell(Command::DeviceGetInfo, &short), Err(EINVAL));
    assert_eq!(dialogue.insides.lock().unwrap().resets, 0);
    dialogue.tell(Command::DeviceReset, &()).unwrap();
    assert_eq!(dialogue.insides.lock().unwrap().resets, 1);
}

fn region(index: u32, argsz: u32) -> RegionInfo {
    RegionInfo {
        argsz,
        index,
        ..RegionInfo::default()
    }
}

#[test]
fn regions_are_described_with_what_can_be_mapped() {
    let dialogue = Dialogue::new();
    let command = Command::DeviceGetRegionInfo;
    let (config, _) = dialogue
        .get::<RegionInfo>(command, &region(RegionInfo::CONFIG, 32))
        .unwrap();
    assert_eq!(
        (config.size, config.flags),
        (256, RegionInfo::READ | RegionInfo::WRITE)
    );
    for absent in [0, 1, 3, 4, 5, RegionInfo::ROM, RegionInfo::VGA] {
        let (info, _) = dialogue.get::<RegionInfo>(command, &region(absent, 32)).unwrap();
        assert_eq!((info.size, info.flags, info.index), (0, 0, absent));
    }
    for (index, argsz) in [(9, 32), (u32::MAX, 32), (2, 31), (2, 0)] {
        assert_eq!(dialogue.tell(command, &region(index, argsz)), Err(EINVAL));
    }

    // Too little room: how much is needed, and nothing else.
    let reply = dialogue.ask(command, region(2, 32).as_bytes(), &[]).unwrap();
    let info: RegionInfo = reply.read().unwrap();
    assert_eq!(
        (info.argsz, info.flags & RegionInfo::CAPS, info.cap_offset),
        (80, 0, 0)
    );
    assert!(reply.descriptors.is_empty());
    let reply = dialogue
        .ask(command, region(2, info.argsz).as_bytes(), &[])
        .unwrap();
    let (info, capability) = reply.read_prefix::<RegionInfo>().unwrap();
    let all = RegionInfo::READ | RegionInfo::WRITE | RegionInfo::MMAP | RegionInfo::CAPS;
    assert_eq!(
        (info.flags, info.cap_offset, info.offset, info.size),
        (all, 32, 0x1_0000, BAR_SIZE)
    );
    assert_eq!(reply.descriptors.len(), 1);
    let words: Vec<u64> = capability[16..]
        .chunks(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .collect();
    let header = CapHeader::read_from_prefix(capability).unwrap().0;
    let sparse = SparseMmap::read_from_bytes(&capability[8..16]).unwrap();
    assert_eq!(
        (header.id, header.version, header.next, sparse.nr_areas),
        (1, 1, 0, 2)
    );
    assert_eq!(words, [0x1000, 0x1000, 0x3000, 0x1000]);
}

#[test]
fn doorbells_come_with_their_descriptors() {
    let dialogue = Dialogue::new();
    let command = Command::DeviceGetRegionIoFds;
    let asked = RegionIoFds {
        argsz: 16,
        index: 2,
        ..RegionIoFds::default()
    };
    let reply = dialogue.ask(command, asked.as_bytes(), &[]).unwrap();
    let head: RegionIoFds = reply.read().unwrap();
    assert_eq!((head.argsz, head.count, reply.descriptors.len()), (96, 2, 0));
    let asked = RegionIoFds { argsz: 96, ..asked };
    let reply = dialogue.ask(command, asked.as_bytes(), &[]).unwrap();
    let (_, parts) = reply.read_prefix::<RegionIoFds>().unwrap();
    let parts: Vec<IoFd> = parts
        .chunks(40)
        .map(|part| IoFd::read_from_bytes(part).unwrap())
        .collect();
    let seen = parts
        .iter()
        .map(|part| (part.offset, part.size, part.fd_index, part.flags, part.datamatch));
    assert_eq!(
        Vec::from_iter(seen),
        [(0x3000, 2, 0, IoFd::DATAMATCH, 7), (0x3004, 2, 1, 0, 0)]
    );
    assert_eq!(reply.descriptors.len(), 2);
    for wrong in [
        RegionIoFds { argsz: 15, ..asked },
        RegionIoFds { flags: 1, ..asked },
        RegionIoFds { count: 1, ..asked },
        RegionIoFds { index: 0, ..asked },
        RegionIoFds { index: 99, ..asked },
    ] {
        assert_eq!(dialogue.tell(command, &wrong), Err(EINVAL), "{wrong:?}");
    }
}

#[test]
fn a_client_gets_no_more_descriptors_than_it_can_take() {
    let dialogue = Dialogue::silent();
    dialogue.tell(Command::Version, &VERSION).unwrap();
    let asked = RegionIoFds {
        argsz: 4096,
        index: 2,
        ..RegionIoFds::default()
    };
    let reply = dialogue
        .ask(Command::DeviceGetRegionIoFds, asked.as_bytes(), &[])
        .unwrap();
    assert_eq!(reply.descriptors.len(), 1, "the default of max_msg_fds");
}

#[test]
fn interrupt_types_are_described() {
    let dialogue = Dialogue::new();
    let ask = |index| {
        let asked = IrqInfo {
            argsz: 16,
            index,
            ..IrqInfo::default()
        };
        dialogue
            .get::<IrqInfo>(Command::DeviceGetIrqInfo, &asked)
            .map(|(info, _)| (info.flags, info.count))
    };
    // The pin register says that there is no INTx yet.
    let intx = IrqInfo::EVENTFD | IrqInfo::MASKABLE | IrqInfo::AUTOMASKED;
    assert_eq!(ask(IrqInfo::INTX), Ok((intx, 0)));
    dialogue.insides.lock().unwrap().config[0x3d] = 1;
    assert_eq!(ask(IrqInfo::INTX), Ok((intx, 1)));
    assert_eq!(ask(IrqInfo::MSI).map(|(_, count)| count), Ok(0));
    assert_eq!(
        ask(IrqInfo::MSIX),
        Ok((IrqInfo::EVENTFD | IrqInfo::MASKABLE, VECTORS.into()))
    );
    for absent in [IrqInfo::ERROR, IrqInfo::REQUEST, u32::MAX] {
        assert_eq!(ask(absent), Err(EINVAL));
    }
}
