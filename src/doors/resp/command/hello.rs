//! `HELLO`: the handshake.

use super::parse::client_name;
use super::{CommandError, Word, is};
use crate::doors::resp::frame::Arguments;
use crate::doors::resp::number::integer;
use crate::doors::resp::reply::Protocol;

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
///
/// Redis acts on each option as it comes to it: an error in a later one does not undo an earlier one. So the options
/// are told one by one.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// The protocol to speak, once all options are fine; `None` to stay with the one spoken.
    pub protocol: Option<Protocol>,
    options: Arguments<'a>,
}

/// What `HELLO` is to do besides.
pub enum HelloOption<'a> {
    /// As `AUTH` does.
    Auth {
        /// The user.
        user: &'a [u8],
        /// The password.
        password: &'a [u8],
    },
    /// As `CLIENT SETNAME` does.
    SetName(&'a [u8]),
}

impl<'a> Hello<'a> {
    pub(super) fn parse(arguments: Arguments<'a>) -> Result<Self, CommandError<'a>> {
        let protocol = match arguments.get(1).map(integer) {
            None => None,
            Some(None) => return Err(CommandError::ProtocolNotAnInteger),
            Some(Some(2)) => Some(Protocol::Resp2),
            Some(Some(3)) => Some(Protocol::Resp3),
            Some(Some(_)) => return Err(CommandError::UnsupportedProtocol),
        };
        Ok(Self { protocol, options: arguments.from(2) })
    }

    /// The options in their order, up to the first error, which is the answer.
    pub fn options(&self) -> impl Iterator<Item = Result<HelloOption<'a>, CommandError<'a>>> + use<'a> {
        let mut rest = self.options;
        std::iter::from_fn(move || {
            let option = rest.get(0)?;
            let more = rest.len() - 1;
            let (taken, result) = if is(option, "auth") && more >= 2 {
                (3, Ok(HelloOption::Auth { user: rest.at(1), password: rest.at(2) }))
            } else if is(option, "setname") && more >= 1 {
                (2, client_name(rest.at(1)).map(HelloOption::SetName))
            } else {
                (rest.len(), Err(CommandError::HelloOption(Word(option))))
            };
            rest = if result.is_ok() { rest.from(taken) } else { rest.from(rest.len()) };
            Some(result)
        })
    }
}
