// SPDX-License-Identifier: Apache-2.0
//! The content of a stub: just what containerd opens in a container's root on the host.
//!
//! For an image with a named USER, containerd looks the name up in the root's `/etc/passwd` and
//! `/etc/group`. The stub answers with placeholder ids; the guest takes the ids from the owner's
//! policy and never from the host.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// Placeholder id: "nobody" of most distributions.
const PLACEHOLDER_ID: u32 = 65534;
/// Names longer than this are no user names (useradd's limit is 32).
const MAX_NAME: usize = 256;

/// Fills the content directory of a stub for an image with this USER.
///
/// # Errors
///
/// When a file cannot be written.
pub(crate) fn fill(fs_dir: &Path, user: &str) -> Result<(), Error> {
    let etc = fs_dir.join("etc");
    fs::create_dir_all(&etc).map_err(Error::io("create", &etc))?;
    let (passwd, group) = accounts(user);
    for (name, text) in [("passwd", passwd), ("group", group)] {
        let file = etc.join(name);
        fs::write(&file, text).map_err(Error::io("write", &file))?;
    }
    Ok(())
}

/// The passwd and group files for `USER`: `name`, `id`, `name:group` and so on.
fn accounts(user: &str) -> (String, String) {
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    let mut passwd = "root:x:0:0::/:/\n".to_owned();
    let mut groups = "root:x:0:\n".to_owned();
    if is_name(name) {
        passwd.push_str(&format!("{name}:x:{PLACEHOLDER_ID}:{PLACEHOLDER_ID}::/:/\n"));
    }
    if is_name(group) {
        groups.push_str(&format!("{group}:x:{PLACEHOLDER_ID}:\n"));
    }
    (passwd, groups)
}

/// Whether the text is a name that a passwd line can hold, and not an id.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME
        && text != "root"
        && !text.bytes().all(|b| b.is_ascii_digit())
        && !text.bytes().any(|b| b == b':' || b.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_get_placeholder_ids_and_ids_none() {
        let app = "root:x:0:0::/:/\napp:x:65534:65534::/:/\n";
        let root_groups = "root:x:0:\n";
        assert_eq!(accounts("app"), (app.to_owned(), root_groups.to_owned()));
        assert_eq!(
            accounts("app:staff"),
            (app.to_owned(), format!("{root_groups}staff:x:65534:\n"))
        );
        for user in ["", "0", "1000", "1000:1000", "root", "root:root"] {
            assert_eq!(accounts(user), ("root:x:0:0::/:/\n".to_owned(), root_groups.to_owned()));
        }
    }

    proptest! {
        // The image's author is not trusted to end the line (C14).
        #[test]
        fn a_user_adds_at_most_one_line_to_each_file(user in "\\PC{0,40}|.{0,40}") {
            let (passwd, group) = accounts(&user);
            prop_assert!(passwd.lines().count() <= 2);
            prop_assert!(group.lines().count() <= 2);
        }
    }
}
