// SPDX-License-Identifier: Apache-2.0
//! A policy with every field of the format, as this crate writes it.

pub(crate) const FULL: &str = r#"version = 1

[sandbox]
hostname = "web-[0-9]+"
sysctls = { "kernel.shm_rmid_forced" = "1", "net.ipv4.ip_unprivileged_port_start" = "0" }
hosts = [
    { ip = "10.1.2.3", names = ["db", "db.example"] },
]

[sandbox.network]
addresses = ["10.0.0.0/8", "fd00::/8"]
routes = ["0.0.0.0/0"]
gateways = ["169.254.1.1/32"]
dns_servers = []
dns_searches = ["[a-z.]+"]

[volumes.cache]
kind = "empty-dir"
size_limit = 1048576

[volumes.conf]
kind = "config"

[volumes.conf.files]
"app.conf" = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"q\"\\" = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[volumes.info]
kind = "untrusted"
max_bytes = 4096

[volumes.info.files]
"ca.crt" = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

[volumes.plain]
kind = "empty-dir"

[containers.debug]
role = "ephemeral"
image = "registry.example/debug@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "optional"
argv = ["/bin/sh"]
cwd = "/"
user = { uid = 0, gid = 0 }
terminal = true
stdin = true
logs = "none"
metrics = "none"
termination_message = "none"
readonly_rootfs = false
no_new_privileges = true
seccomp = "default"
signals = []
restart = "never"

[containers.init]
role = "init"
image = "registry.example/init@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "optional"
argv = ["/bin/init"]
cwd = "/"
user = { uid = 0, gid = 0 }
terminal = false
stdin = false
logs = "none"
metrics = "none"
termination_message = "none"
readonly_rootfs = false
no_new_privileges = false
seccomp = "unconfined"
signals = [9]
restart = "on-failure"
max_starts = 3

[containers.proxy]
role = "sidecar"
image = "registry.example/proxy@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "optional"
argv = ["/bin/proxy"]
cwd = "/"
user = { uid = 7, gid = 7 }
terminal = false
stdin = false
logs = "host-visible"
metrics = "host-visible"
termination_message = "none"
readonly_rootfs = true
no_new_privileges = true
seccomp = "default"
signals = [15]
restart = "always"
after = ["init"]

[containers.web]
role = "app"
image = "registry.example:5000/team/web@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
signature = "owner"
encryption = "required"
argv = ["/bin/web", "--name", "a \"b\"\nc", ""]
cwd = "/srv/web"
user = { uid = 1000, gid = 1000, groups = [1000, 2000] }
env = [
    { name = "PATH", value = "/bin" },
    { name = "empty", value = "" },
]
env_holes = [
    { name = "HOSTNAME", value = "[a-z0-9-]+", required = true },
    { name = "[A-Z]+_SERVICE_HOST", value = "[0-9.]+", required = false },
]
terminal = true
stdin = true
logs = "host-visible"
metrics = "host-visible"
termination_message = "host-visible"
readonly_rootfs = true
mounts = [
    { destination = "/cache", kind = "volume", readonly = false, volume = "cache", sub_path = "a/b" },
    { destination = "/conf", kind = "volume", readonly = true, volume = "conf" },
    { destination = "/conf.d/app", kind = "volume", readonly = true, volume = "conf", sub_path = "app.conf" },
    { destination = "/dev/shm", kind = "shm", readonly = false },
    { destination = "/dev/termination-log", kind = "termination-log", readonly = false },
    { destination = "/etc/hostname", kind = "hostname", readonly = true },
    { destination = "/etc/hosts", kind = "hosts", readonly = true },
    { destination = "/etc/resolv.conf", kind = "resolv-conf", readonly = true },
    { destination = "/info", kind = "volume", readonly = true, volume = "info", sub_path = "labels" },
]
secrets = [
    { resource = "kbs:///default/db/password", path = "/run/secrets/db" },
    { resource = "kbs:///default/db/user", path = "/run/secrets/user", mode = 292 },
]
capabilities = [
    "CAP_CHOWN",
    "CAP_KILL",
]
no_new_privileges = true
seccomp = "default"
proc_mount = "unmasked"
rlimits = [
    { kind = "nofile", soft = 1024, hard = 4096 },
    { kind = "core", soft = 0, hard = "unlimited" },
]
exec = [
    { argv = ["/bin/probe", "-x"], terminal = false, stdin = false, purpose = "liveness-probe" },
    { argv = ["/bin/sh"], terminal = true, stdin = true, env = [{ name = "A", value = "b" }], user = { uid = 7, gid = 8 }, purpose = "exec" },
]
signals = [9, 15]
restart = "always"
max_starts = 5
after = ["init"]
after_started = ["proxy"]

[containers.web.resources]
memory = { limit = 67108864, min = 33554432, max = 134217728 }
cpu_millis = { limit = 500 }
pids = 64
"#;
