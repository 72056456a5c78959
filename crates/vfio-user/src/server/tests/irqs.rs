//! Interrupts.

use super::*;

#[test]
fn vectors_are_signalled_masked_and_ended() {
    let dialogue = Dialogue::new();
    let events: Vec<_> = (0..3).map(|_| event()).collect();
    let descriptors: Vec<_> = events.iter().map(AsFd::as_fd).collect();
    let (trigger, eventfd) = (IrqSet::ACTION_TRIGGER, IrqSet::DATA_EVENTFD);
    let set = irq_set(eventfd | trigger, IrqInfo::MSIX, 1, 3);
    // What the function sends before anybody listens is kept.
    dialogue.interrupts.message(2);
    dialogue
        .ask(Command::DeviceSetIrqs, set.as_bytes(), &descriptors)
        .unwrap();
    let counts = || Vec::from_iter(events.iter().map(signalled));
    assert_eq!(counts(), [0, 1, 0]);
    (0..VECTORS).for_each(|vector| dialogue.interrupts.message(vector));
    dialogue.interrupts.message(VECTORS);
    assert_eq!(counts(), [1, 1, 1]);

    let none = IrqSet::DATA_NONE;
    let tell = |set: IrqSet| dialogue.tell(Command::DeviceSetIrqs, &set);
    tell(irq_set(none | IrqSet::ACTION_MASK, IrqInfo::MSIX, 1, 2)).unwrap();
    (0..VECTORS).for_each(|vector| dialogue.interrupts.message(vector));
    dialogue.interrupts.message(1);
    assert_eq!(counts(), [0, 0, 1]);
    tell(irq_set(none | IrqSet::ACTION_UNMASK, IrqInfo::MSIX, 1, 1)).unwrap();
    assert_eq!(counts(), [1, 0, 0]);
    // A byte for each vector says whether it is meant.
    let unmask = [
        irq_set(IrqSet::DATA_BOOL | IrqSet::ACTION_UNMASK, IrqInfo::MSIX, 1, 3).as_bytes(),
        &[0, 1, 0],
    ]
    .concat();
    dialogue.ask(Command::DeviceSetIrqs, &unmask, &[]).unwrap();
    assert_eq!(counts(), [0, 1, 0]);
    tell(irq_set(none | trigger, IrqInfo::MSIX, 2, 2)).unwrap();
    assert_eq!(counts(), [0, 1, 1]);

    let some = [
        irq_set(IrqSet::DATA_BOOL | trigger, IrqInfo::MSIX, 1, 3).as_bytes(),
        &[0, 1, 0],
    ]
    .concat();
    dialogue.ask(Command::DeviceSetIrqs, &some, &[]).unwrap();
    assert_eq!(counts(), [0, 1, 0]);
    // What was signalled is not pending any more.
    tell(irq_set(none | IrqSet::ACTION_MASK, IrqInfo::MSIX, 1, 3)).unwrap();
    tell(irq_set(none | IrqSet::ACTION_UNMASK, IrqInfo::MSIX, 1, 3)).unwrap();
    assert_eq!(counts(), [0, 0, 0]);

    // One vector is ended, then all; what comes meanwhile waits for the next descriptor.
    dialogue
        .ask(
            Command::DeviceSetIrqs,
            irq_set(eventfd | trigger, IrqInfo::MSIX, 3, 1).as_bytes(),
            &[],
        )
        .unwrap();
    (1..4).for_each(|vector| dialogue.interrupts.message(vector));
    assert_eq!(counts(), [1, 1, 0]);
    tell(irq_set(none | trigger, IrqInfo::MSIX, 0, 0)).unwrap();
    (1..4).for_each(|vector| dialogue.interrupts.message(vector));
    assert_eq!(counts(), [0, 0, 0]);
    dialogue
        .ask(Command::DeviceSetIrqs, set.as_bytes(), &descriptors)
        .unwrap();
    assert_eq!(counts(), [1, 1, 1]);
    // A reset forgets what is pending.
    tell(irq_set(none | trigger, IrqInfo::MSIX, 0, 0)).unwrap();
    dialogue.interrupts.message(1);
    dialogue.tell(Command::DeviceReset, &()).unwrap();
    dialogue
        .ask(Command::DeviceSetIrqs, set.as_bytes(), &descriptors)
        .unwrap();
    assert_eq!(counts(), [0, 0, 0]);
}

#[test]
fn a_new_descriptor_for_the_line_hears_of_a_level_that_the_last_one_heard_of() {
    let dialogue = Dialogue::new();
    dialogue.insides.lock().unwrap().config[0x3d] = 1;
    let take = || {
        let line = event();
        let set = irq_set(IrqSet::DATA_EVENTFD | IrqSet::ACTION_TRIGGER, IrqInfo::INTX, 0, 1);
        dialogue
            .ask(Command::DeviceSetIrqs, set.as_bytes(), &[line.as_fd()])
            .unwrap();
        line
    };
    let first = take();
    dialogue.interrupts.set_level(true);
    assert_eq!(signalled(&first), 1);
    let second = take();
    assert_eq!((signalled(&first), signalled(&second)), (0, 1));
    // After a reset the level is low.
    dialogue.tell(Command::DeviceReset, &()).unwrap();
    assert_eq!(signalled(&take()), 0);
}

#[test]
fn the_line_masks_itself_until_the_client_has_dealt_with_it() {
    let dialogue = Dialogue::new();
    dialogue.insides.lock().unwrap().config[0x3d] = 1;
    let line = event();
    let set = irq_set(IrqSet::DATA_EVENTFD | IrqSet::ACTION_TRIGGER, IrqInfo::INTX, 0, 1);
    dialogue
        .ask(Command::DeviceSetIrqs, set.as_bytes(), &[line.as_fd()])
        .unwrap();
    let tell = |action| {
        dialogue
            .tell(
                Command::DeviceSetIrqs,
                &irq_set(IrqSet::DATA_NONE | action, IrqInfo::INTX, 0, 1),
            )
            .unwrap();
    };
    let level = |level| dialogue.interrupts.set_level(level);
    level(true);
    assert_eq!(signalled(&line), 1);
    level(false);
    level(true);
    assert_eq!(signalled(&line), 0, "masked by itself");
    tell(IrqSet::ACTION_UNMASK);
    assert_eq!(signalled(&line), 1, "the level is high still");
    level(false);
    tell(IrqSet::ACTION_UNMASK);
    assert_eq!(signalled(&line), 0);
    tell(IrqSet::ACTION_MASK);
    level(true);
    assert_eq!(signalled(&line), 0, "masked by the client");
    tell(IrqSet::ACTION_TRIGGER);
    assert_eq!(signalled(&line), 1, "the client itself");

    // A kernel tells by an eventfd that the guest has handled the interrupt.
    let unmask = event();
    let set = irq_set(IrqSet::DATA_EVENTFD | IrqSet::ACTION_UNMASK, IrqInfo::INTX, 0, 1);
    dialogue
        .ask(Command::DeviceSetIrqs, set.as_bytes(), &[unmask.as_fd()])
        .unwrap();
    rustix::io::write(&unmask, &1u64.to_ne_bytes()).unwrap();
    let ready = ringwright_socket::readable(&[line.as_fd()], Some(DEADLINE)).unwrap();
    assert_eq!((ready, signalled(&line)), (vec![true], 1));
    // Commands are served meanwhile.
    tell(IrqSet::ACTION_UNMASK);
    assert_eq!(signalled(&line), 1);
    tell(IrqSet::ACTION_TRIGGER);
    // Ended, nothing comes any more, from neither side.
    dialogue
        .tell(
            Command::DeviceSetIrqs,
            &irq_set(IrqSet::DATA_NONE | IrqSet::ACTION_TRIGGER, IrqInfo::INTX, 0, 0),
        )
        .unwrap();
    signalled(&line);
    rustix::io::write(&unmask, &1u64.to_ne_bytes()).unwrap();
    tell(IrqSet::ACTION_UNMASK);
    assert_eq!(signalled(&line), 0);
    assert_eq!(signalled(&unmask), 1, "nobody reads it any more");
}

#[test]
fn interrupts_that_are_not_there_are_refused() {
    let dialogue = Dialogue::new();
    dialogue.insides.lock().unwrap().config[0x3d] = 1;
    let event = event();
    let (trigger, none, eventfd) = (IrqSet::ACTION_TRIGGER, IrqSet::DATA_NONE, IrqSet::DATA_EVENTFD);
    for (set, data, descriptors) in [
        (irq_set(none | trigger, IrqInfo::MSIX, VECTORS.into(), 1), 0, 0),
        (irq_set(none | trigger, IrqInfo::MSIX, 0, 6), 0, 0),
        (irq_set(none | trigger, IrqInfo::MSIX, u32::MAX, 2), 0, 0),
        (irq_set(none | trigger, IrqInfo::MSI, 0, 1), 0, 0),
        (irq_set(none | trigger, 3, 0, 1), 0, 0),
        (irq_set(trigger, IrqInfo::MSIX, 0, 1), 0, 0),
        (irq_set(none, IrqInfo::MSIX, 0, 1), 0, 0),
        (irq_set(none | eventfd | trigger, IrqInfo::MSIX, 0, 1), 0, 0),
        (
            irq_set(none | trigger | IrqSet::ACTION_MASK, IrqInfo::MSIX, 0, 1),
            0,
            0,
        ),
        (irq_set(none | trigger | 1 << 6, IrqInfo::MSIX, 0, 1), 0, 0),
        (irq_set(none | trigger, IrqInfo::MSIX, 0, 1), 1, 0),
        (irq_set(IrqSet::DATA_BOOL | trigger, IrqInfo::MSIX, 0, 2), 1, 0),
        (irq_set(none | trigger, IrqInfo::MSIX, 0, 1), 0, 1),
        (irq_set(eventfd | trigger, IrqInfo::MSIX, 0, 2), 0, 1),
        (irq_set(eventfd | trigger, IrqInfo::MSIX, 0, 1), 0, 2),
        (irq_set(eventfd | IrqSet::ACTION_MASK, IrqInfo::MSIX, 0, 1), 0, 1),
        (
            irq_set(eventfd | IrqSet::ACTION_UNMASK, IrqInfo::MSIX, 0, 1),
            0,
            1,
        ),
        (irq_set(eventfd | IrqSet::ACTION_MASK, IrqInfo::INTX, 0, 1), 0, 1),
    ] {
        let payload = [set.as_bytes(), &vec![1; data]].concat();
        let answer = dialogue.ask(
            Command::DeviceSetIrqs,
            &payload,
            &vec![event.as_fd(); descriptors],
        );
        assert_eq!(answer.unwrap_err(), EINVAL, "{set:?} {data} {descriptors}");
    }
    dialogue.interrupts.message(0);
    dialogue.interrupts.set_level(true);
    assert_eq!(signalled(&event), 0);
}
