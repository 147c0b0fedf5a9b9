//! The login: greeting, TLS, authentication.

use super::*;
use mysql_common::packets::{HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;

impl Core {
    pub(super) fn greeting(&mut self, sequence: u8, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        if payload.first() == Some(&0xff) {
            return Err(Failure::new(Why::Refused, Phase::Login, server_error(payload)));
        }
        self.read_greeting(payload).ok_or_else(|| self.garbage("not a MySQL server"))?;
        let needed = CapabilityFlags::CLIENT_PROTOCOL_41 | CapabilityFlags::CLIENT_SECURE_CONNECTION;
        if !self.capabilities.contains(needed) {
            return Err(Failure::new(Why::Refused, Phase::Login, "the server is older than MySQL 4.1"));
        }
        self.sequence = sequence.wrapping_add(1);
        let offered = self.capabilities.contains(CapabilityFlags::CLIENT_SSL);
        if self.login.tls && offered {
            let mut request = Vec::new();
            let flags = self.flags() | CapabilityFlags::CLIENT_SSL;
            SslRequest::new(flags, MAX_PAYLOAD as u32, COLLATION).serialize(&mut request);
            self.send(&request);
            self.state = State::TlsWait;
            events.push(Event::StartTls);
            return Ok(());
        }
        if self.login.tls_required {
            return Err(Failure::new(Why::Refused, Phase::Tls, "the server offers no TLS"));
        }
        self.respond(if self.login.local { Secure::Local } else { Secure::No })
    }

    /// Protocol::HandshakeV10.
    fn read_greeting(&mut self, payload: &[u8]) -> Option<()> {
        let mut r = Reader(payload);
        if r.u8()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(r.until_nul()).into_owned();
        self.session = Session::of(&version);
        self.thread = r.u32()?;
        let mut nonce = r.take(8)?.to_vec();
        r.take(1)?;
        let low = r.u16()?;
        let _collation = r.u8()?;
        let _status = r.u16()?;
        let high = r.u16()?;
        let length = usize::from(r.u8()?);
        r.take(10)?;
        nonce.extend_from_slice(r.take(length.saturating_sub(8).max(13))?.get(..NONCE - 8)?);
        self.greeting_plugin = r.until_nul().to_vec();
        self.nonce = nonce;
        self.capabilities = CapabilityFlags::from_bits_truncate(u32::from(low) | u32::from(high) << 16);
        Some(())
    }

    /// What we speak, as far as the server does.
    fn flags(&self) -> CapabilityFlags {
        use CapabilityFlags as C;
        let mut flags = C::CLIENT_LONG_FLAG
            | C::CLIENT_PROTOCOL_41
            | C::CLIENT_TRANSACTIONS
            | C::CLIENT_SECURE_CONNECTION
            | C::CLIENT_MULTI_RESULTS
            | C::CLIENT_PS_MULTI_RESULTS
            | C::CLIENT_PLUGIN_AUTH
            | C::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
            | C::CLIENT_CONNECT_WITH_DB;
        if self.login.multi_statements {
            flags |= C::CLIENT_MULTI_STATEMENTS;
        }
        // This one tells MariaDB that no extended capabilities follow.
        (flags & self.capabilities) | C::CLIENT_LONG_PASSWORD
    }

    pub(super) fn respond(&mut self, secure: Secure) -> Result<(), Failure> {
        let plugin = std::mem::take(&mut self.greeting_plugin);
        let (auth, first) =
            Auth::begin(&plugin, &self.nonce, &self.login.password, secure).map_err(|e| self.auth_error(&e))?;
        let mut flags = self.flags();
        if secure == Secure::Tls {
            flags |= CapabilityFlags::CLIENT_SSL;
        }
        let plugin = flags.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH).then(|| auth.plugin());
        let mut response = Vec::new();
        HandshakeResponse::new(
            Some(&first[..]),
            (5, 5, 3),
            Some(self.login.user.as_bytes()),
            self.login.database.as_deref().map(str::as_bytes),
            plugin,
            flags,
            None,
            MAX_PAYLOAD as u32,
        )
        .serialize(&mut response);
        self.send(&response);
        self.auth = Some(auth);
        self.state = State::Auth;
        Ok(())
    }

    pub(super) fn auth(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let Some((first, rest)) = payload.split_first() else { return Err(self.garbage("empty packet in the login")) };
        let Some(mut auth) = self.auth.take() else { return Err(self.garbage("login state")) };
        let response = match *first {
            0x00 => {
                self.command(COM_QUERY, SETUP);
                self.state = State::Header;
                return Ok(());
            }
            0xff => return Err(Failure::new(Why::Denied, Phase::Login, server_error(payload))),
            0xfe if rest.is_empty() => Err(AuthError::Plugin("mysql_old_password".to_string())),
            0xfe => auth.switch(rest),
            0x01 => auth.more(rest),
            _ => Err(AuthError::Challenge),
        };
        if let Some(data) = response.map_err(|e| self.auth_error(&e))? {
            self.send(&data);
        }
        self.auth = Some(auth);
        Ok(())
    }
}
