//! What pam_duo.so and its helper say to each other. The module runs inside sshd
//! and sudo, so these packets need neither an allocator nor the standard library.
//!
//! The module starts the helper with a socket that keeps packets apart and with a
//! pipe. It sends one [`Claim`], then one [`Answer`] for each question. The helper's
//! child sends [`Message`]s. The helper's parent, and nobody else, writes one
//! [`Ruling`] on the pipe (docs/pam.md, *Two pieces*).
#![no_std]
#![forbid(unsafe_code)]

use core::ffi::CStr;

/// The number of the socket in the helper.
pub const SOCKET: i32 = 3;

/// The number of the pipe in the helper.
pub const PIPE: i32 = 4;

/// The folder of emergency codes. While it does not exist, no account has any.
pub const CODES: &CStr = c"/var/lib/login_duo/codes";

/// Whether a login of root's account in this service is about the user who asks for it, and
/// not about root: su, which asks Duo about whoever runs it.
pub fn asks_the_caller_for_root(service: &[u8]) -> bool {
    matches!(service, b"su" | b"su-l")
}

/// The most bytes of a packet. It is a buffer on a stack of the host's, and a thread
/// of the host may have a small one.
pub const LONGEST: usize = 8 * 1024;

/// The most bytes of one item of a claim: seven of them fit into a packet. An item
/// that is longer is cut.
const LONGEST_ITEM: usize = 1024;

/// Something that the module knows of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// PAM_USER.
    User,
    /// PAM_SERVICE.
    Service,
    /// PAM_RHOST.
    RemoteHost,
    /// `SSH_CONNECTION` of PAM's own environment, where sshd puts it.
    SshConnection,
    /// sshd has taken a public key in this login; no bytes.
    PublicKey,
    /// The command that sudo is to run.
    SudoCommand,
    /// The real user id of the host, four bytes.
    RealUser,
    /// PAM_TTY.
    Terminal,
    /// PAM_SILENT was set; no bytes.
    Silent,
}

impl Item {
    const ALL: [(Item, u8); 9] = [
        (Item::User, b'u'),
        (Item::Service, b's'),
        (Item::RemoteHost, b'h'),
        (Item::SshConnection, b'c'),
        (Item::PublicKey, b'k'),
        (Item::SudoCommand, b'x'),
        (Item::RealUser, b'r'),
        (Item::Terminal, b't'),
        (Item::Silent, b'q'),
    ];
}

/// One packet that is being written.
pub struct Packet {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Packet {
    /// An empty packet.
    pub const fn new() -> Packet {
        Packet {
            bytes: [0; LONGEST],
            length: 0,
        }
    }

    /// The packet's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Adds an item to a claim. An item of more than 1 KiB is cut.
    pub fn put(&mut self, item: Item, bytes: &[u8]) {
        let Some((_, tag)) = Item::ALL.iter().find(|(known, _)| *known == item) else {
            return;
        };
        let bytes = bytes.get(..LONGEST_ITEM).unwrap_or(bytes);
        let Ok(length) = u16::try_from(bytes.len()) else {
            return;
        };
        self.append(&[*tag]);
        self.append(&length.to_le_bytes());
        self.append(bytes);
    }

    /// An answer with what the person typed. What does not fit is cut: no passcode is
    /// that long.
    pub fn set_answer(&mut self, line: Option<&[u8]>) {
        self.overwrite();
        match line {
            Some(line) => {
                self.append(b"l");
                self.append(line);
            }
            None => self.append(b"n"),
        }
    }

    /// Overwrites what was typed.
    pub fn overwrite(&mut self) {
        self.bytes.fill(0);
        core::hint::black_box(&self.bytes);
        self.length = 0;
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length = self.length.saturating_add(count);
    }
}

impl Default for Packet {
    fn default() -> Packet {
        Packet::new()
    }
}

/// What the module says first: the items of a login.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a>(&'a [u8]);

impl<'a> Claim<'a> {
    /// The claim of this packet.
    pub fn of(packet: &'a [u8]) -> Claim<'a> {
        Claim(packet)
    }

    /// The value of an item, if the claim has it.
    pub fn get(self, item: Item) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while let Some(([tag, low, high], bytes)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let (value, next) = bytes.split_at_checked(length)?;
            if Item::ALL.contains(&(item, *tag)) {
                return Some(value);
            }
            rest = next;
        }
        None
    }
}

/// What the person answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A line, as the host's conversation gave it.
    Line(&'a [u8]),
    /// The conversation failed, is missing, or gave no text.
    Nothing,
}

impl<'a> Answer<'a> {
    /// The answer in this packet; `None` if it is none.
    pub fn read(packet: &'a [u8]) -> Option<Answer<'a>> {
        match packet.split_first() {
            Some((b'l', line)) => Some(Answer::Line(line)),
            Some((b'n', [])) => Some(Answer::Nothing),
            _ => None,
        }
    }
}

/// How the host shows a text (pam_conv(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// PAM_TEXT_INFO.
    Info,
    /// PAM_ERROR_MSG.
    Error,
    /// PAM_PROMPT_ECHO_ON: the module answers with an [`Answer`].
    Question,
}

impl Style {
    const ALL: [(Style, u8); 3] = [
        (Style::Info, b'i'),
        (Style::Error, b'e'),
        (Style::Question, b'q'),
    ];

    /// The byte that a message of this style begins with.
    pub fn to_byte(self) -> u8 {
        let entry = Style::ALL.iter().find(|(style, _)| *style == self);
        entry.map_or(0, |(_, byte)| *byte)
    }
}

/// A text for the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// How it is shown.
    pub style: Style,
    /// The text, harmless on any terminal.
    pub text: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message in this packet; `None` if it is none.
    pub fn read(packet: &'a [u8]) -> Option<Message<'a>> {
        let (tag, text) = packet.split_first()?;
        let (style, _) = Style::ALL.iter().find(|(_, byte)| byte == tag)?;
        Some(Message {
            style: *style,
            text,
        })
    }
}

/// What the module returns to the host. Only [`Ruling::Allowed`] opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// PAM_SUCCESS.
    Allowed,
    /// PAM_MAXTRIES: every attempt was denied.
    Denied,
    /// PAM_ABORT: Duo denies this login whatever the person does, or the person gave up.
    Aborted,
    /// PAM_SERVICE_ERR: denied by failmode, or a fault.
    Failed,
    /// PAM_USER_UNKNOWN: there is no such account.
    UserUnknown,
}

impl Ruling {
    const ALL: [(Ruling, u8); 5] = [
        (Ruling::Allowed, b'Y'),
        (Ruling::Denied, b'd'),
        (Ruling::Aborted, b'a'),
        (Ruling::Failed, b'f'),
        (Ruling::UserUnknown, b'u'),
    ];

    /// The byte that stands for this ruling on the pipe.
    pub fn to_byte(self) -> u8 {
        let entry = Ruling::ALL.iter().find(|(ruling, _)| *ruling == self);
        entry.map_or(0, |(_, byte)| *byte)
    }

    /// The ruling that a byte on the pipe stands for; `None` if there is no such byte.
    pub fn from_byte(byte: u8) -> Option<Ruling> {
        let entry = Ruling::ALL.iter().find(|(_, known)| *known == byte);
        entry.map(|(ruling, _)| *ruling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_comes_out_as_it_went_in() {
        let mut packet = Packet::new();
        packet.put(Item::User, b"al\0ice\xff");
        packet.put(Item::Silent, b"");
        packet.put(Item::RealUser, &1000_u32.to_ne_bytes());
        packet.put(Item::SudoCommand, &[b'x'; 100_000]);
        let claim = Claim::of(packet.as_bytes());
        assert_eq!(claim.get(Item::User), Some(&b"al\0ice\xff"[..]));
        assert_eq!(claim.get(Item::Silent), Some(&b""[..]));
        assert_eq!(claim.get(Item::RealUser), Some(&1000_u32.to_ne_bytes()[..]));
        assert_eq!(claim.get(Item::RemoteHost), None);
        assert_eq!(
            claim.get(Item::SudoCommand).map(<[u8]>::len),
            Some(LONGEST_ITEM)
        );
    }

    #[test]
    fn all_items_of_the_greatest_length_fit() {
        let mut packet = Packet::new();
        for (item, _) in Item::ALL {
            packet.put(item, &[b'x'; LONGEST_ITEM]);
        }
        let claim = Claim::of(packet.as_bytes());
        for (item, _) in Item::ALL.iter().take(7) {
            assert_eq!(claim.get(*item).map(<[u8]>::len), Some(LONGEST_ITEM));
        }
    }

    #[test]
    fn a_claim_that_ends_too_soon_has_no_more_items() {
        let mut packet = Packet::new();
        packet.put(Item::Service, b"sudo");
        packet.put(Item::User, b"alice");
        for length in 0..packet.as_bytes().len() {
            let claim = Claim::of(&packet.as_bytes()[..length]);
            assert_eq!(claim.get(Item::User), None);
        }
        for bytes in [&b"u"[..], b"u\xff\xff", b"u\x01\x00", b"?\x00\x00u"] {
            assert_eq!(Claim::of(bytes).get(Item::User), None, "{bytes:?}");
        }
    }

    #[test]
    fn answers_and_messages_come_out_as_they_went_in() {
        let mut packet = Packet::new();
        packet.set_answer(Some(b"123456\n"));
        assert_eq!(
            Answer::read(packet.as_bytes()),
            Some(Answer::Line(b"123456\n"))
        );
        packet.set_answer(Some(b""));
        assert_eq!(Answer::read(packet.as_bytes()), Some(Answer::Line(b"")));
        packet.set_answer(None);
        assert_eq!(Answer::read(packet.as_bytes()), Some(Answer::Nothing));
        packet.overwrite();
        assert_eq!(packet.as_bytes(), b"");
        for bytes in [&b""[..], b"x", b"nn"] {
            assert_eq!(Answer::read(bytes), None);
        }
        for (style, byte) in Style::ALL {
            assert_eq!(style.to_byte(), byte);
            let read = Message::read(&[byte, b'!']).map(|m| (m.style, m.text.len()));
            assert_eq!(read, Some((style, 1)));
        }
        assert_eq!(Message::read(b""), None);
        assert_eq!(Message::read(b"?"), None);
    }

    #[test]
    fn one_byte_opens_and_no_other_one() {
        let opens = |byte| Ruling::from_byte(byte) == Some(Ruling::Allowed);
        assert_eq!((0..=u8::MAX).filter(|byte| opens(*byte)).count(), 1);
        for (ruling, byte) in Ruling::ALL {
            assert_eq!(Ruling::from_byte(ruling.to_byte()), Some(ruling));
            assert_eq!(ruling.to_byte(), byte);
        }
    }
}
