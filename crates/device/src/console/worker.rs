//! The data side of a console: all ports, and the control virtqueues.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use ringwright_spec::console::{
    CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, Role, features, receiveq, role, transmitq,
};

use super::control::Control;
use super::flow::Flow;
use super::handle::{Change, Ports, Shared, apply};
use crate::codec::{Rest, put_length};
use crate::{Context, DeviceError, Loan, Session, Source, Worker};

/// Where emergency output reports. The backend of each port reports as the port's number.
pub(super) const EMERGENCY: Source = Source(u32::MAX);
/// Where changes of the ports report.
pub(super) const CHANGES: Source = Source(u32::MAX - 1);

/// Serves all ports.
pub(super) struct ConsoleWorker {
    ports: Loan<Ports>,
    /// By number, as the ports.
    flows: Vec<Flow>,
    /// With MULTIPORT; without it there is port 0.
    control: Option<Control>,
    shared: Arc<Shared>,
    emergency: Receiver<u8>,
}

impl ConsoleWorker {
    pub fn new(ports: Loan<Ports>, shared: Arc<Shared>, emergency: Receiver<u8>, session: &Session) -> Self {
        let multiport = session.features.contains(features::MULTIPORT);
        Self {
            flows: ports.iter().map(|_| Flow::default()).collect(),
            control: multiport.then(|| Control::new(ports.len(), session.byte_order)),
            ports,
            shared,
            emergency,
        }
    }

    /// Whether the driver wants the input of this port. Before it has opened a port it would throw input away.
    fn wants_input(&self, port: u32) -> bool {
        match &self.control {
            Some(control) => control.is_open(port),
            None => port == 0,
        }
    }

    fn receive(&mut self, context: &mut Context, number: u32) {
        let wanted = self.wants_input(number);
        let Some((port, flow)) = at(&mut self.ports, &mut self.flows, number) else {
            return;
        };
        flow.wants_input = false;
        if wanted && let Some(queue) = receiveq(number).and_then(|queue| context.queue(queue)) {
            flow.receive(&mut *port.backend, queue);
        }
    }

    fn transmit(&mut self, context: &mut Context, number: u32) {
        let Some((port, flow)) = at(&mut self.ports, &mut self.flows, number) else {
            return;
        };
        flow.wants_output = false;
        if let Some(queue) = transmitq(number).and_then(|queue| context.queue(queue)) {
            flow.transmit(&mut *port.backend, queue);
        }
    }

    /// Waits for the port's backend, and looks whether there is something to tell the driver of it.
    fn watch(&mut self, context: &mut Context, number: u32) -> Result<(), DeviceError> {
        if let Some((port, flow)) = at(&mut self.ports, &mut self.flows, number) {
            // Whoever comes is let in, also where nothing is wanted of them yet.
            let far_end = port.backend.far_end();
            if let Some(control) = &mut self.control {
                control.seen(number, far_end);
            }
            port.backend.watch(context, flow.interest())?;
        }
        self.tell(context);
        Ok(())
    }

    /// Takes the driver's control messages.
    fn hear(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        let Some(control) = &mut self.control else {
            return Ok(());
        };
        let mut heard = Vec::new();
        if let Some(queue) = context.queue(CONTROL_TRANSMITQ) {
            while let Some(chain) = queue.pop() {
                heard.extend(control.hear(chain.readable()));
                let token = chain.into_token();
                queue.complete(token, 0);
            }
        }
        for number in heard {
            self.receive(context, number);
            self.watch(context, number)?;
        }
        self.tell(context);
        Ok(())
    }

    /// Tells the driver what is new, as long as it has buffers for that.
    fn tell(&mut self, context: &mut Context) {
        let (Some(control), Some(queue)) = (&mut self.control, context.queue(CONTROL_RECEIVEQ)) else {
            return;
        };
        while control.due
            && let Some(chain) = queue.pop()
        {
            let written = control.tell(&mut self.ports, chain.writable());
            let token = chain.into_token();
            match written {
                Some(written) => queue.complete(token, written),
                None => return queue.push_back(token),
            }
        }
    }

    /// Makes the changes that came since the last time.
    fn change(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        while let Some(change) = self.shared.next_change() {
            let number = match change {
                Change::Add(number, _) | Change::Remove(number) | Change::Resize(number, _) => number,
            };
            match (&change, &mut self.control) {
                (Change::Resize(..), Some(control)) => control.resized(number),
                (Change::Resize(..), None) => {}
                (_, control) => {
                    if let Some((port, flow)) = at(&mut self.ports, &mut self.flows, number) {
                        *flow = Flow::default();
                        port.backend.watch(context, None)?;
                    }
                    if let Some(control) = control {
                        control.replaced(number);
                    }
                }
            }
            apply(&mut self.ports, change);
            // Nobody has looked into the virtqueues of a port that was not there.
            self.receive(context, number);
            self.transmit(context, number);
            self.watch(context, number)?;
        }
        Ok(())
    }
}

/// The port of this number, and where its bytes stand.
fn at<'a>(
    ports: &'a mut Ports,
    flows: &'a mut [Flow],
    number: u32,
) -> Option<(&'a mut super::Port, &'a mut Flow)> {
    let index = usize::try_from(number).ok()?;
    Some((ports.get_mut(index)?.as_mut()?, flows.get_mut(index)?))
}

impl Worker for ConsoleWorker {
    fn start(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        self.change(context)?;
        // The driver is told of who comes, also to a port of which it wants nothing yet.
        for number in 0..self.ports.len() as u32 {
            self.watch(context, number)?;
        }
        Ok(())
    }

    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        match role(queue) {
            Role::ControlReceive => {
                self.tell(context);
                Ok(())
            }
            Role::ControlTransmit => self.hear(context),
            Role::Receive(port) => {
                self.receive(context, port);
                self.watch(context, port)
            }
            Role::Transmit(port) => {
                self.transmit(context, port);
                self.watch(context, port)
            }
        }
    }

    fn source_ready(&mut self, context: &mut Context, source: Source) -> Result<(), DeviceError> {
        if source == CHANGES {
            return self.change(context);
        }
        let Source(number) = source;
        if source == EMERGENCY {
            if let Some((port, _)) = at(&mut self.ports, &mut self.flows, 0) {
                for character in self.emergency.try_iter() {
                    port.backend.put(character);
                }
            }
            return Ok(());
        }
        let Some((_, flow)) = at(&mut self.ports, &mut self.flows, number) else {
            return Ok(());
        };
        let (input, output) = (flow.wants_input, flow.wants_output);
        if input {
            self.receive(context, number);
        }
        if output {
            self.transmit(context, number);
        }
        self.watch(context, number)
    }

    fn stop_queue(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        let (number, input) = match role(queue) {
            Role::Receive(port) => (port, true),
            Role::Transmit(port) => (port, false),
            Role::ControlReceive | Role::ControlTransmit => {
                if let Some(control) = &mut self.control {
                    control.rest();
                }
                return Ok(());
            }
        };
        let Some((port, flow)) = at(&mut self.ports, &mut self.flows, number) else {
            return Ok(());
        };
        match input {
            true => flow.wants_input = false,
            false => flow.wants_output = false,
        }
        port.backend.watch(context, flow.interest())
    }

    fn save(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_length(&mut bytes, self.flows.len());
        for flow in &self.flows {
            bytes.extend((flow.sent as u64).to_le_bytes());
        }
        bytes.push(self.control.is_some().into());
        if let Some(control) = &self.control {
            control.save(&mut bytes);
        }
        bytes
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        let mut rest = Rest::all(state);
        let mut read = || {
            (rest.length()? == self.flows.len()).then_some(())?;
            for flow in &mut self.flows {
                flow.sent = rest.u64()? as usize;
            }
            match (rest.flag()?, &mut self.control) {
                (true, Some(control)) => control.restore(&mut rest)?,
                (false, None) => {}
                _ => return None,
            }
            rest.is_empty().then_some(())
        };
        read().ok_or_else(|| DeviceError::SavedState {
            expected: "the ports of a console, as many as this one has room for",
            found: format!("{} bytes that are something else", state.len()),
        })
    }
}
