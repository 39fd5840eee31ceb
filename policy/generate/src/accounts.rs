// SPDX-License-Identifier: Apache-2.0
//! Who runs a container: what pod and image say, brought together as kubelet and containerd do.

use casemate_policy::User;

/// The users of an image.
pub trait Users {
    /// Finds a user by name or number: user id, primary group, and the groups whose member it is.
    /// `None` for a name that the image does not have; a number always gives a user.
    fn user(&self, user: &str) -> Option<User>;
}

/// Why a user cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The name must be looked up in layers that cannot be read here.
    #[error("the user {name:?} is a name and the image's layers cannot be read here")]
    Unreadable {
        /// The name.
        name: String,
    },
    /// The image has no such user.
    #[error("the image has no user {name:?}")]
    UnknownUser {
        /// The name.
        name: String,
    },
}

/// What pod and image say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// `runAsUser`.
    pub(crate) uid: Option<u32>,
    /// `runAsGroup`.
    pub(crate) gid: Option<u32>,
    /// `USER` of the image.
    pub(crate) image_user: &'a str,
    /// `fsGroup` and `supplementalGroups`.
    pub(crate) groups: &'a [u32],
    /// Whether the image's `/etc/group` adds groups (`supplementalGroupsPolicy`).
    pub(crate) merge_image_groups: bool,
}

impl Wanted<'_> {
    /// The user as kubelet names it to containerd: a number, or a name of the image.
    fn name(&self) -> String {
        // Never the group part of the image's USER.
        let image_user = self.image_user.split(':').next().unwrap_or_default();
        match self.uid {
            Some(uid) => uid.to_string(),
            None if image_user.is_empty() => "0".to_owned(),
            None => image_user.to_owned(),
        }
    }

    /// Whether the image's own users and groups decide anything: not if user and group are numbers and
    /// the image's groups do not count.
    pub(crate) fn needs_image(&self) -> bool {
        let is_number = self.name().parse::<u32>().is_ok();
        !is_number || self.gid.is_none() || self.merge_image_groups
    }
}

/// Finds the numeric user and groups.
///
/// As kubelet and containerd 1.6 do together: kubelet passes on `runAsUser` or the user part of the
/// image's `USER`, never its group part; containerd takes the primary group from `runAsGroup`, else
/// from the user's passwd entry, else 0; then come the groups whose member the user is, and the
/// primary group is among them.
pub(crate) fn resolve(
    wanted: &Wanted<'_>,
    users: Option<&dyn Users>,
) -> Result<User, AccountError> {
    let name = wanted.name();
    let found = match users {
        Some(users) => {
            users.user(&name).ok_or_else(|| AccountError::UnknownUser { name: name.clone() })?
        }
        None => match name.parse().ok().filter(|uid| *uid != u32::MAX) {
            Some(uid) => User { uid, ..User::default() },
            None => return Err(AccountError::Unreadable { name }),
        },
    };
    let gid = wanted.gid.unwrap_or(found.gid);
    let own = found.groups.iter().filter(|g| wanted.merge_image_groups && **g != found.gid);
    let mut groups: Vec<u32> =
        own.chain(wanted.groups).copied().filter(|group| *group != gid).collect();
    groups.sort_unstable();
    groups.dedup();
    groups.insert(0, gid);
    Ok(User { uid: found.uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// root is a member of adm (4), web of adm and ssl (110).
    struct Image;

    impl Users for Image {
        fn user(&self, user: &str) -> Option<User> {
            let found = |uid, gid, groups: &[u32]| User { uid, gid, groups: groups.to_vec() };
            match user {
                "root" | "0" => Some(found(0, 0, &[0, 4])),
                "web" | "101" => Some(found(101, 102, &[102, 4, 110])),
                other => other.parse().ok().map(|uid| found(uid, 0, &[0])),
            }
        }
    }

    fn check(wanted: &Wanted<'_>, expected: (u32, u32, &[u32])) {
        let (uid, gid, groups) = expected;
        let expected = User { uid, gid, groups: groups.to_vec() };
        assert_eq!(resolve(wanted, Some(&Image)), Ok(expected), "{wanted:?}");
    }

    // C14: users by name and by number
    #[test]
    fn follows_kubelet_and_containerd() {
        let base = Wanted { merge_image_groups: true, ..Wanted::default() };
        check(&base, (0, 0, &[0, 4]));
        check(&Wanted { image_user: "web", ..base.clone() }, (101, 102, &[102, 4, 110]));
        check(&Wanted { image_user: "web:root", ..base.clone() }, (101, 102, &[102, 4, 110]));
        check(&Wanted { image_user: "101:7", ..base.clone() }, (101, 102, &[102, 4, 110]));
        check(&Wanted { image_user: "5000", ..base.clone() }, (5000, 0, &[0]));
        check(
            &Wanted { uid: Some(5000), image_user: "web", groups: &[9, 8, 9], ..base.clone() },
            (5000, 0, &[0, 8, 9]),
        );
        check(&Wanted { image_user: "web", gid: Some(4), ..base.clone() }, (101, 4, &[4, 110]));
        let strict = Wanted { merge_image_groups: false, groups: &[2000], ..base };
        check(&Wanted { image_user: "web", ..strict }, (101, 102, &[102, 2000]));
    }

    #[test]
    fn the_image_is_looked_into_where_it_decides() {
        let open = Wanted { merge_image_groups: true, ..Wanted::default() };
        assert!(open.needs_image());
        let strict = Wanted { uid: Some(1), gid: Some(2), ..Wanted::default() };
        assert!(!strict.needs_image());
        assert!(!Wanted { uid: None, image_user: "7:8", ..strict.clone() }.needs_image());
        assert!(Wanted { merge_image_groups: true, ..strict.clone() }.needs_image());
        assert!(Wanted { gid: None, ..strict.clone() }.needs_image());
        assert!(Wanted { uid: None, image_user: "web", ..strict }.needs_image());
    }

    #[test]
    fn says_which_user_is_unknown() {
        let wanted = Wanted { image_user: "nobody", ..Wanted::default() };
        let name = "nobody".to_owned();
        let unknown = AccountError::UnknownUser { name: name.clone() };
        assert_eq!(resolve(&wanted, Some(&Image)), Err(unknown));
        assert_eq!(resolve(&wanted, None), Err(AccountError::Unreadable { name }));
        let wanted = Wanted { uid: Some(7), gid: Some(8), ..wanted };
        assert_eq!(resolve(&wanted, None), Ok(User { uid: 7, gid: 8, groups: vec![8] }));
    }
}
