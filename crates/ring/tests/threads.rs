//! Both ends of a virtqueue on threads of their own, which is what ThreadSanitizer is for: everything arrives as it was
//! sent, and neither end waits for ever when it sleeps as soon as it is allowed to.

mod common;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use common::{BOTH, Shared};
use ringwright_memory::Buffer;
use ringwright_ring::{DeviceQueue, DriverQueue};
use ringwright_spec::{Features, feature};

const SIZE: u16 = 8;
const BUFFERS: u32 = if cfg!(miri) { 50 } else { 20_000 };
/// Longer than any machine takes to wake a thread: whoever sleeps so long has lost a notification.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends a notification.
fn notify(bell: &SyncSender<()>) {
    // One that was not taken yet is enough, and an end that is done needs none.
    let _full_or_done = bell.try_send(());
}

/// Completes all buffers: the answer is the request, each byte one more.
fn device(mut queue: DeviceQueue, kicks: &Receiver<()>, interrupt: &SyncSender<()>) {
    let mut done = 0;
    while done < BUFFERS {
        while let Some(chain) = queue.pop().unwrap() {
            let request = chain.readable().read_array::<4>(0).unwrap();
            let answer = request.map(|byte| byte.wrapping_add(1));
            chain.writable().write(0, &answer).unwrap();
            let token = chain.into_token();
            queue.complete(token, 4).unwrap();
            done += 1;
            if done % 3 == 0 && queue.publish().unwrap() {
                notify(interrupt);
            }
        }
        if queue.publish().unwrap() {
            notify(interrupt);
        }
        if done < BUFFERS && !queue.enable_notifications() {
            kicks.recv_timeout(DEADLINE).unwrap();
        }
    }
}

/// Sends all requests, in order, and looks at the answers.
fn driver(
    mut queue: DriverQueue<(u32, Buffer, Buffer)>,
    shared: &Shared,
    kick: &SyncSender<()>,
    interrupts: &Receiver<()>,
) {
    let (mut sent, mut back) = (0, 0);
    while back < BUFFERS {
        while sent < BUFFERS && queue.free() >= 2 {
            let (request, answer) = (shared.buffer(4), shared.buffer(4));
            request.write(0, &sent.to_le_bytes()).unwrap();
            let (readable, writable) = ([request.segment()], [answer.segment()]);
            queue.add(&readable, &writable, (sent, request, answer)).unwrap();
            sent += 1;
        }
        if queue.publish() {
            notify(kick);
        }
        let before = back;
        while let Some(used) = queue.pop().unwrap() {
            let (number, _, answer) = used.data;
            let mut bytes = [0; 4];
            answer.read(0, &mut bytes).unwrap();
            assert_eq!((number, used.written), (back, 4));
            assert_eq!(bytes, number.to_le_bytes().map(|byte| byte.wrapping_add(1)));
            back += 1;
        }
        if back == before && !queue.enable_notifications() {
            interrupts.recv_timeout(DEADLINE).unwrap();
        }
    }
}

#[test]
fn all_arrives_between_threads() {
    for features in BOTH {
        for extra in [Features::NONE, feature::EVENT_IDX, feature::IN_ORDER] {
            let shared = Shared::new(1 << 20);
            let (driver_queue, device_queue) = shared.pair(SIZE, features | extra, 0);
            let (kick, kicks) = sync_channel(1);
            let (interrupt, interrupts) = sync_channel(1);
            thread::scope(|scope| {
                scope.spawn(move || device(device_queue, &kicks, &interrupt));
                driver(driver_queue, &shared, &kick, &interrupts);
            });
        }
    }
}
