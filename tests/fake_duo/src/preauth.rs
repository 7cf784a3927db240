//! The answer of preauth: a verdict, or Duo's menu in either shape.

use crate::factor::WAYS;
use crate::script::{HOSTILE_TEXT, Script};
use serde_json::{Value, json};

/// What preauth was asked.
pub struct Preauth<'a> {
    pub user: &'a str,
    /// The client can do verified push.
    pub verified: bool,
    /// The answer carries `prompt`; else `devices`.
    pub with_prompt: bool,
    /// The enrolment address.
    pub portal: &'a str,
    /// The transaction to name in a verified push.
    pub txid: &'a str,
}

/// The `response` of preauth.
pub fn preauth(script: Script, asked: &Preauth) -> Value {
    match script {
        Script::Allow => {
            json!({"result": "allow", "status_msg": "Account is set to bypass two-factor"})
        }
        Script::Deny => json!({"result": "deny", "status_msg": "Your account is disabled"}),
        Script::NullPreauth => json!({"result": "deny", "status_msg": null}),
        Script::UnknownPreauth => json!({"result": "review", "status_msg": "Under review"}),
        Script::Enroll => enroll(asked),
        _ if asked.with_prompt => {
            let mut response = json!({"result": "auth", "status_msg": "Account is active",
                "prompt": prompt(script, asked)});
            if script == Script::Verified
                && asked.verified
                && let Some(fields) = response.as_object_mut()
            {
                fields.insert("txid".to_owned(), json!(asked.txid));
            }
            response
        }
        _ => {
            json!({"result": "auth", "status_msg": "Account is active", "devices": devices(script)})
        }
    }
}

fn enroll(asked: &Preauth) -> Value {
    let portal = asked.portal;
    let mut response = json!({"result": "enroll", "enroll_portal_url": portal,
        "status_msg": "Enroll an authentication device to proceed"});
    if asked.with_prompt
        && let Some(fields) = response.as_object_mut()
    {
        let text = format!("Please enroll at {portal}\n");
        fields.insert("prompt".to_owned(), json!({"text": text}));
    }
    response
}

fn prompt(script: Script, asked: &Preauth) -> Value {
    let mut factors = serde_json::Map::new();
    let mut lines = String::new();
    for (capability, factor, label) in WAYS {
        for (number, device) in (1..).zip(script.devices()) {
            if device.capabilities.contains(&capability) {
                let option = factors.len() + 1;
                let verified = script == Script::Verified && asked.verified && factor == "push";
                let prefix = if verified { "verified_" } else { "" };
                factors.insert(
                    option.to_string(),
                    json!(format!("{prefix}{factor}{number}")),
                );
                lines.push_str(&format!(" {option}. {label} to {}\n", device.number));
            }
        }
    }
    let options = factors.len();
    let mut text = format!("Duo two-factor login for {}\n\n", asked.user);
    if script == Script::Escapes {
        text.push_str(HOSTILE_TEXT);
    }
    if options == 0 {
        text.push_str("Enter a passcode: ");
    } else {
        text.push_str(&format!(
            "Enter a passcode or select one of the following options:\n\n{lines}\nPasscode or option (1-{options}): "
        ));
    }
    if let Some(default) = script.default_factor(asked.verified) {
        factors.insert("default".to_owned(), json!(default));
    }
    json!({"text": text, "factors": factors})
}

fn devices(script: Script) -> Vec<Value> {
    script
        .devices()
        .iter()
        .map(|device| match device.kind {
            "token" => json!({"device": device.id, "type": "token", "name": "0"}),
            kind => {
                let hostile = if script == Script::Escapes {
                    HOSTILE_TEXT
                } else {
                    ""
                };
                json!({"device": device.id, "type": kind, "name": "", "number": device.number,
                    "display_name": format!("{hostile}Phone ({})", device.number),
                    "capabilities": device.capabilities})
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu(script: Script, verified: bool) -> Value {
        let asked = Preauth {
            user: "u",
            verified,
            with_prompt: true,
            portal: "https://localhost:1/portal",
            txid: "t",
        };
        preauth(script, &asked)
    }

    #[test]
    fn the_menu_looks_like_duos() {
        let response = menu(Script::Push, false);
        assert_eq!(
            response["prompt"]["text"],
            "Duo two-factor login for u\n\nEnter a passcode or select one of the following options:\n\n \
             1. Duo Push to XXX-XXX-1234\n 2. Phone call to XXX-XXX-1234\n 3. SMS passcodes to XXX-XXX-1234\n\n\
             Passcode or option (1-3): "
        );
        assert_eq!(
            response["prompt"]["factors"],
            json!({"default": "push1", "1": "push1", "2": "phone1", "3": "smsrefresh1"})
        );
    }

    #[test]
    fn verified_push_is_for_clients_that_can() {
        assert_eq!(
            menu(Script::Verified, true)["prompt"]["factors"]["1"],
            "verified_push1"
        );
        assert_eq!(menu(Script::Verified, true)["txid"], "t");
        assert_eq!(
            menu(Script::Verified, false)["prompt"]["factors"]["1"],
            "push1"
        );
        assert_eq!(menu(Script::Verified, false).get("txid"), None);
    }
}
