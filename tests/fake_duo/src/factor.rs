//! What a user has to log in with: devices, and the factors they make.

use crate::script::Script;

/// What a user owns.
pub struct Device {
    pub id: &'static str,
    pub kind: &'static str,
    pub number: &'static str,
    pub capabilities: &'static [&'static str],
}

const SMARTPHONE: Device = Device {
    id: "DPFAKEFAKEFAKEFAKE01",
    kind: "phone",
    number: "XXX-XXX-1234",
    capabilities: &["auto", "push", "sms", "phone", "mobile_otp"],
};
const LANDLINE: Device = Device {
    id: "DPFAKEFAKEFAKEFAKE02",
    kind: "phone",
    number: "XXX-XXX-5678",
    capabilities: &["auto", "phone"],
};
const TOKEN: Device = Device {
    id: "DHFAKEFAKEFAKEFAKE03",
    kind: "token",
    number: "",
    capabilities: &[],
};

/// The ways a device can be used, in the order of the menu: capability, factor, what the menu calls it.
pub const WAYS: [(&str, &str, &str); 3] = [
    ("push", "push", "Duo Push"),
    ("phone", "phone", "Phone call"),
    ("sms", "smsrefresh", "SMS passcodes"),
];

impl Script {
    /// What the user owns.
    pub(crate) fn devices(self) -> &'static [Device] {
        match self {
            Self::Token => &[TOKEN],
            Self::TwoPhones => &[SMARTPHONE, LANDLINE],
            _ => &[SMARTPHONE],
        }
    }

    /// The factor that an empty line or `auto` stands for.
    pub(crate) fn default_factor(self, verified: bool) -> Option<&'static str> {
        match self {
            Self::Token => None,
            Self::Phone => Some("phone1"),
            Self::Sms => Some("smsrefresh1"),
            Self::Verified if verified => Some("verified_push1"),
            _ => Some("push1"),
        }
    }
}

/// The factor that `/auth` names, in either shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `factor=prompt`: a factor's name or a passcode.
    Prompt(String),
    /// `factor=push|phone|sms` on a device.
    Device { way: String, device: String },
    /// `factor=passcode`.
    Passcode(String),
    /// `factor=auto`.
    Auto,
}

/// A factor that this user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Factor {
    Push,
    VerifiedPush,
    /// A call to this number.
    Phone(&'static str),
    Sms,
    Passcode(String),
}

impl Factor {
    /// Whether a person answers it on their phone.
    pub fn reaches_the_phone(&self) -> bool {
        matches!(self, Self::Push | Self::VerifiedPush | Self::Phone(_))
    }
}

/// The user's factor for what `/auth` asked; `None` if they have none such.
pub fn factor(script: Script, asked: &Asked) -> Option<Factor> {
    match asked {
        Asked::Passcode(code) => Some(Factor::Passcode(code.clone())),
        Asked::Auto => script
            .default_factor(false)
            .and_then(|name| named_factor(script, name)),
        Asked::Prompt(text) => {
            named_factor(script, text).or_else(|| Some(Factor::Passcode(text.clone())))
        }
        Asked::Device { way, device } => {
            let device = script.devices().iter().find(|candidate| {
                (device == "auto" || candidate.id == device)
                    && candidate.capabilities.contains(&way.as_str())
            })?;
            on_device(way, device)
        }
    }
}

/// `push1`, `phone2`, `smsrefresh1`, `verified_push1`, as the menu names them.
fn named_factor(script: Script, name: &str) -> Option<Factor> {
    let (name, verified) = match name.strip_prefix("verified_") {
        Some(rest) if script == Script::Verified => (rest, true),
        _ => (name, false),
    };
    WAYS.iter().find_map(|(capability, factor, _)| {
        let number: usize = name.strip_prefix(factor)?.parse().ok()?;
        let device = script.devices().get(number.checked_sub(1)?)?;
        let found = device
            .capabilities
            .contains(capability)
            .then(|| on_device(capability, device))??;
        match found {
            Factor::Push if verified => Some(Factor::VerifiedPush),
            _ if verified => None,
            other => Some(other),
        }
    })
}

fn on_device(way: &str, device: &'static Device) -> Option<Factor> {
    match way {
        "push" => Some(Factor::Push),
        "phone" => Some(Factor::Phone(device.number)),
        "sms" => Some(Factor::Sms),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_found_by_name_and_by_device() {
        let named = |script, name: &str| factor(script, &Asked::Prompt(name.to_owned()));
        assert_eq!(named(Script::Push, "push1"), Some(Factor::Push));
        assert_eq!(
            named(Script::TwoPhones, "phone2"),
            Some(Factor::Phone("XXX-XXX-5678"))
        );
        assert_eq!(
            named(Script::TwoPhones, "push2"),
            Some(Factor::Passcode("push2".into()))
        );
        assert_eq!(
            named(Script::Push, "verified_push1"),
            Some(Factor::Passcode("verified_push1".into()))
        );
        assert_eq!(
            named(Script::Verified, "verified_push1"),
            Some(Factor::VerifiedPush)
        );
        assert_eq!(factor(Script::Token, &Asked::Auto), None);
        let on = |device: &str| Asked::Device {
            way: "push".into(),
            device: device.into(),
        };
        assert_eq!(
            factor(Script::TwoPhones, &on(SMARTPHONE.id)),
            Some(Factor::Push)
        );
        assert_eq!(factor(Script::TwoPhones, &on(LANDLINE.id)), None);
    }
}
