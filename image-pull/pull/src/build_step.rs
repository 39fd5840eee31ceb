// SPDX-License-Identifier: Apache-2.0
//! What an image's history says of a layer.

/// Whether the build step put files into one place that is neither `/etc` nor above it: then its layer
/// has no `/etc/passwd` and no `/etc/group`.
///
/// Such steps are `COPY` and `ADD` with one absolute destination, and `WORKDIR`, as BuildKit and the
/// classic builder write them down. Of everything else, `RUN` above all, nothing is known.
pub(crate) fn leaves_etc_alone(step: &str) -> bool {
    let step = step.trim();
    let (step, classic) = match step.split_once(CLASSIC) {
        Some(("", rest)) => (rest.trim(), true),
        _ => (step.trim_end_matches(BUILDKIT).trim(), false),
    };
    let Some((instruction, rest)) = step.split_once(' ') else { return false };
    let mut words = rest.split_ascii_whitespace();
    let destination = match instruction {
        "WORKDIR" => words.next(),
        // "file:<digest> in <destination>" or "<source>... <destination>".
        "COPY" | "ADD" if classic => rest.rsplit_once(" in ").map(|(_, to)| to.trim()),
        "COPY" | "ADD" => words.next_back(),
        _ => None,
    };
    destination.is_some_and(is_elsewhere)
}

/// An absolute path without tricks whose first component is not `etc`.
fn is_elsewhere(path: &str) -> bool {
    let plain = |part: &str| {
        !matches!(part, "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let Some(rest) = path.strip_prefix('/') else { return false };
    let mut parts = rest.split('/').filter(|part| !part.is_empty());
    parts.next().is_some_and(|first| first != "etc" && plain(first)) && parts.all(plain)
}

const CLASSIC: &str = "/bin/sh -c #(nop) ";
const BUILDKIT: &str = "# buildkit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_elsewhere_leave_etc_alone() {
        for step in [
            "COPY app /usr/local/bin/app # buildkit",
            "COPY --chown=1:1 a b /srv/www/ # buildkit",
            "ADD site.tar.gz /srv",
            "WORKDIR /app",
            "/bin/sh -c #(nop) COPY file:0123 in /app/config.json ",
            "/bin/sh -c #(nop) WORKDIR /srv/www",
        ] {
            assert!(leaves_etc_alone(step), "{step}");
        }
    }

    #[test]
    fn of_everything_else_nothing_is_known() {
        for step in [
            "",
            "COPY",
            "COPY . .",
            "COPY rootfs / # buildkit",
            "COPY rootfs // # buildkit",
            "COPY passwd /etc/passwd",
            "COPY conf /etc",
            "COPY a /srv/../etc",
            "COPY a /./etc",
            "COPY a $DIR/x",
            "COPY a /${DIR}",
            "COPY [\"a b\",\"/\"]",
            "COPY [\"a\",\"/srv/x\"]",
            "ADD file:0123 in / ",
            "/bin/sh -c #(nop) ADD file:0123 in / ",
            "RUN /bin/sh -c useradd web # buildkit",
            "RUN cp passwd /srv",
            "/bin/sh -c useradd web",
            "x /bin/sh -c #(nop) WORKDIR /srv",
            "apko",
        ] {
            assert!(!leaves_etc_alone(step), "{step}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(step in ".{0,80}") {
            let _ = leaves_etc_alone(&step);
        }
    }
}
