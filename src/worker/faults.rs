//! Faults on demand, in debug builds only: with `REPRISE_TEST_FAULTS` in the environment, a datagram that
//! says `X-Fault: crash` or `X-Fault: hang` makes its worker do so. This is how the tests see to it that
//! main notices, names the message, and replaces the worker.

/// Whether this process misbehaves when it is asked to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults(bool);

impl Faults {
    /// As the environment says.
    pub fn find() -> Faults {
        Faults(cfg!(debug_assertions) && std::env::var_os("REPRISE_TEST_FAULTS").is_some())
    }

    /// Misbehaves if `data` asks for it.
    #[inline]
    pub fn look(self, data: &[u8]) {
        if !self.0 {
            return;
        }
        let asks = |what: &[u8]| memchr::memmem::find(data, what).is_some();
        if asks(b"X-Fault: crash") {
            std::process::abort();
        }
        while asks(b"X-Fault: hang") {
            std::hint::spin_loop();
        }
    }
}
