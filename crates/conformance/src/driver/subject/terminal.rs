//! Our driver of consoles, with all ports that there are.

use ringwright_driver::Transport;
use ringwright_driver::console::{Console, Event};

use super::Seat;
use super::ours::{text, until};
use crate::driver::scenario::Act;
use crate::driver::strict::PORTS;

/// Opens the ports, and sends what comes back.
pub(super) fn live(seat: &mut Seat) -> Result<(), String> {
    let options = seat.options;
    let mut terminal = Console::with_ports(&mut *seat.transport, &seat.area, options, PORTS).map_err(text)?;
    if seat.act != Act::Leave {
        meet(&mut terminal, &mut seat.wait)?;
    }
    for round in 0..20 {
        terminal.size().map_err(text)?;
        terminal.event().map_err(text)?;
        let number = match terminal.port(round % PORTS) {
            Some(_) => round % PORTS,
            None => 0,
        };
        send(&mut terminal, number)?;
        if seat.act == Act::Leave {
            return Ok(());
        }
        let mut bytes = [0; 64];
        until(&mut seat.wait, || match terminal.port(number) {
            Some(mut port) => port.read(&mut bytes).map(|got| got != 0).map_err(text),
            None => Err("the port has gone".into()),
        })?;
    }
    Ok(())
}

/// Waits until all ports have been introduced, if there are several, and opens those that are no consoles.
fn meet<T: Transport>(terminal: &mut Console<T>, wait: &mut (dyn FnMut() + Send)) -> Result<(), String> {
    let mut expected = match terminal.port(0) {
        Some(_) => 0,
        None => PORTS,
    };
    while expected > 0 {
        let mut event = None;
        until(wait, || {
            event = terminal.event().map_err(text)?;
            Ok(event.is_some())
        })?;
        match event {
            // It comes last.
            Some(Event::Opened(_)) => expected -= 1,
            Some(Event::Named(number)) => {
                terminal.open(number, true).map_err(text)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sends a line; through port 0 also if it is not there yet.
fn send<T: Transport>(terminal: &mut Console<T>, number: u32) -> Result<(), String> {
    let line = b"ringwright\n";
    let sent = match terminal.port(number) {
        Some(mut port) => port.write(line),
        None => terminal.write(line),
    };
    sent.map(drop).map_err(text)
}
