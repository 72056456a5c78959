//! Contexts of receive-side scaling (section 5.1.9.5, "RSS Context").

use ringwright_spec::network::control::{Class, Mq, RssCtx};
use ringwright_spec::network::features;

use super::ALONE;
use super::command::{Command, command, replace};
use crate::driver::strict::CONTEXTS;
use crate::driver::{Event, Mutant, Past, Rule};

/// What the mutants have in common.
const DIVIDED: Mutant = Mutant {
    scenario: "contexts",
    ..ALONE
};

const ADD: (Class, u8) = (Class::RSS_CTX, RssCtx::ADD.0);
const MOD: (Class, u8) = (Class::RSS_CTX, RssCtx::MOD.0);

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.context-id",
        &["drv:net:rss-context:02"],
        "the driver sends VIRTNET_RSS_CTX_CTRL_ADD, _MOD or _DEL, and VIRTIO_NET_F_RSS_CONTEXT is negotiated",
        "rss_ctx_id is 0, or greater than max_rss_contexts.",
        |watch, past, event| {
            if let Some((_, id)) = of_context(past, event) {
                watch.expect((1..=CONTEXTS).contains(&id), || format!("it is {id}"));
            }
        },
        &[
            DIVIDED.notifying("a context without a number", |hand, queue, data| {
                replace(hand, queue, data, ADD, &[(2, 0)])
            }),
            DIVIDED.notifying("a context that there cannot be", |hand, queue, data| {
                replace(hand, queue, data, MOD, &[(2, CONTEXTS as u8 + 1)])
            }),
        ],
    ),
    Rule::new(
        "net.context-pairs",
        &["drv:net:rss-context:03"],
        "the driver sends a command, and the device has a context",
        "It is VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET.",
        |watch, past, event| {
            if let Event::FeaturesAccepted(_) = event {
                watch.note = 0;
            }
            let Some(sent) = command(past, event) else {
                return;
            };
            if watch.note != 0 {
                watch.expect(!sent.is(Class::MQ, Mq::VQ_PAIRS_SET.0), || format!("{sent:x?}"));
            }
            // A bit for each context.
            if let Some((command, id)) = of_context(past, event) {
                match command {
                    RssCtx::ADD => watch.note |= 1 << (id % 64),
                    RssCtx::DEL => watch.note &= !(1 << (id % 64)),
                    _ => {}
                }
            }
        },
        &[
            DIVIDED.notifying("pairs are enabled beside a context", |hand, queue, data| {
                let set = [(0, Class::MQ.0), (1, Mq::VQ_PAIRS_SET.0), (2, 2)];
                replace(hand, queue, data, MOD, &set)
            }),
        ],
    ),
];

/// A command about a context, and its id.
fn of_context(past: &Past, event: &Event) -> Option<(RssCtx, u16)> {
    let sent = command(past, event).filter(|_| past.has(features::RSS_CONTEXT))?;
    let is = |kind: &RssCtx| sent.is(Class::RSS_CTX, kind.0);
    let kind = [RssCtx::ADD, RssCtx::MOD, RssCtx::DEL].into_iter().find(is)?;
    Some((kind, id(&sent)?))
}

fn id(command: &Command) -> Option<u16> {
    command.data.first_chunk().map(|id| u16::from_le_bytes(*id))
}
