//! Text for whoever watches the machine.

use core::fmt;

use crate::machine;

/// The machine's own console, which needs no driver.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        machine::write(text.as_bytes());
        Ok(())
    }
}

/// Prints a line on the machine's own console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {{
        use ::core::fmt::Write as _;
        // This console takes everything.
        let _ = ::core::writeln!($crate::Console, $($argument)*);
    }};
}
