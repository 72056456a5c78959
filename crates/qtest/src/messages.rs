//! Message-signalled interrupts without an interrupt controller.

use std::sync::Arc;

use ringwright_driver::transport::pci::{Message, Messages};
use ringwright_memory::{Area, Buffer};

/// Aims messages at RAM: each vector has a word of its own, which its message makes something other than 0.
#[derive(Debug)]
pub struct RamMessages {
    area: Arc<Area>,
    words: Vec<(u16, Buffer)>,
}

impl RamMessages {
    /// Messages at words of `area`.
    pub fn new(area: &Arc<Area>) -> Self {
        let area = area.clone();
        let words = Vec::new();
        Self { area, words }
    }
}

impl Messages for RamMessages {
    fn message(&mut self, vector: u16) -> Option<Message> {
        let word = self.area.allocate(4, 4)?;
        word.write(0, &[0; 4]).ok()?;
        let address = word.segment().address();
        self.words.push((vector, word));
        Some(Message {
            address,
            data: 0x1000 + u32::from(vector),
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        let Some((_, word)) = self.words.iter().find(|(number, _)| *number == vector) else {
            return false;
        };
        let mut value = [0; 4];
        let read = word.read(0, &mut value).is_ok();
        let came = read && u32::from_le_bytes(value) == 0x1000 + u32::from(vector);
        came && word.write(0, &[0; 4]).is_ok()
    }
}
