// SPDX-License-Identifier: Apache-2.0
//! The last steps before a container's program runs, in its own process.
//!
//! libcontainer does not give a filter to execs at all, and skips one silently when built without
//! the feature. So the executor loads the filter for execs, and refuses to run any program in a
//! process that is not confined as the spec demands.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::ffi::NulError;
use std::path::Path;
use std::path::PathBuf;

use libcontainer::capabilities;
use libcontainer::oci_spec::runtime::LinuxCapabilities;
use libcontainer::oci_spec::runtime::LinuxSeccomp;
use libcontainer::oci_spec::runtime::Process;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::seccomp::SeccompError;
use libcontainer::seccomp::initialize_seccomp;
use libcontainer::syscall::SyscallError;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload;
use libcontainer::workload::ExecutorError;
use libcontainer::workload::ExecutorSetEnvsError;
use libcontainer::workload::ExecutorValidationError;
use nix::errno::Errno;
use rustix::fs::Access;
use rustix::termios::Winsize;
use rustix::thread::SecureComputingMode;

use crate::request::WindowSize;
use crate::signal;

/// What a process must have before its program may run.
#[derive(Debug, Clone)]
pub(super) struct Guards {
    filter: Filter,
    no_new_privileges: bool,
    capabilities: Option<LinuxCapabilities>,
}

#[derive(Debug, Clone)]
enum Filter {
    /// The policy wants none.
    None,
    /// libcontainer has loaded it.
    There,
    /// The executor loads it.
    Load(Box<LinuxSeccomp>),
}

impl Guards {
    /// For a container's first process, which libcontainer confines.
    pub(super) fn of_init(spec: &Spec, process: &Process) -> Self {
        let filter = if seccomp(spec).is_some() { Filter::There } else { Filter::None };
        Self::new(filter, process)
    }

    /// For a later one, which gets no filter from libcontainer.
    pub(super) fn of_exec(spec: &Spec, process: &Process) -> Self {
        Self::new(seccomp(spec).map_or(Filter::None, |f| Filter::Load(Box::new(f))), process)
    }

    fn new(filter: Filter, process: &Process) -> Self {
        Self {
            filter,
            no_new_privileges: process.no_new_privileges() == Some(true),
            capabilities: process.capabilities().clone(),
        }
    }

    /// Whether the process needs `CAP_SYS_ADMIN` to load the filter.
    pub(super) const fn filter_needs_privilege(&self) -> bool {
        matches!(self.filter, Filter::Load(_)) && !self.no_new_privileges
    }

    fn enforce(&self) -> Result<(), GuardError> {
        if let Filter::Load(profile) = &self.filter {
            initialize_seccomp(profile)?;
            if self.filter_needs_privilege() {
                let granted = self.capabilities.as_ref().ok_or(GuardError::Capabilities)?;
                capabilities::drop_privileges(granted, &*create_syscall())?;
            }
        }
        self.verify()
    }

    fn verify(&self) -> Result<(), GuardError> {
        let mode = rustix::thread::secure_computing_mode()?;
        if !matches!(self.filter, Filter::None) && mode != SecureComputingMode::Filter {
            return Err(GuardError::NoFilter);
        }
        if self.no_new_privileges && !rustix::thread::no_new_privs()? {
            return Err(GuardError::NewPrivileges);
        }
        let granted = self.capabilities.as_ref().and_then(|c| c.permitted().as_ref());
        let granted: u64 = granted.into_iter().flatten().fold(0, |set, c| {
            use libcontainer::capabilities::CapabilityExt;
            set | c.to_cap().bitmask()
        });
        let held = rustix::thread::capabilities(None)?;
        let excess = (held.permitted | held.effective | held.inheritable).bits() & !granted;
        if excess == 0 { Ok(()) } else { Err(GuardError::Capabilities) }
    }
}

fn seccomp(spec: &Spec) -> Option<LinuxSeccomp> {
    spec.linux().as_ref().and_then(|linux| linux.seccomp().clone())
}

/// Runs the program of a container.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    guards: Guards,
    size: Option<WindowSize>,
    /// `HOME=...` that libcontainer found in the image's passwd file.
    home: OnceCell<String>,
}

impl Executor {
    pub(super) const fn new(guards: Guards, size: Option<WindowSize>) -> Self {
        Self { guards, size, home: OnceCell::new() }
    }

    fn run(&self, spec: &Spec) -> Result<Infallible, RunError> {
        let process = spec.process().as_ref().ok_or(RunError::NoProgram)?;
        let program = program(process)?;
        let argv = strings(process.args().iter().flatten())?;
        let env = strings(&self.environment(process))?;
        if let Some(size) = self.size {
            rustix::termios::tcsetwinsize(rustix::stdio::stdin(), winsize(size))?;
        }
        signal::default_sigpipe()?;
        self.guards.enforce()?;
        let path = CString::new(program.as_os_str().as_encoded_bytes())?;
        nix::unistd::execve(&path, &argv, &env).map_err(|source| RunError::Exec { program, source })
    }

    /// The environment of the spec, in its order, and `HOME` where that is missing: programs rely
    /// on it.
    fn environment(&self, process: &Process) -> Vec<String> {
        let mut environment = process.env().clone().unwrap_or_default();
        if !environment.iter().any(|v| v.starts_with(HOME)) {
            environment.extend(self.home.get().cloned());
        }
        environment
    }
}

impl workload::Executor for Executor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        match self.run(spec) {
            Ok(never) => match never {},
            Err(error) => {
                // For a first process nobody else is left to tell; for an exec the error is also
                // returned to the agent.
                eprintln!("{error}");
                Err(ExecutorError::Other(error.to_string()))
            }
        }
    }

    /// So that a missing program fails the create, not the start.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process = spec.process().as_ref().ok_or(RunError::NoProgram);
        process
            .and_then(program)
            .map(|_| ())
            .map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
    }

    /// Only remembers `HOME`: the environment goes to the program alone, not through this process,
    /// whose own would be searched for variables that libcontainer heeds.
    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        if let Some(home) = envs.get("HOME") {
            // Called once; a second value would change nothing.
            drop(self.home.set(format!("{HOME}{home}")));
        }
        Ok(())
    }
}

/// The file to run: as given if it holds a slash, else the first executable in `PATH`.
fn program(process: &Process) -> Result<PathBuf, RunError> {
    let name = process.args().iter().flatten().next().ok_or(RunError::NoProgram)?;
    if name.contains('/') {
        let path = process.cwd().join(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(RunError::Exec { program: path, source }),
        };
    }
    let path = process.env().iter().flatten().find_map(|v| v.strip_prefix("PATH="));
    path.unwrap_or(DEFAULT_PATH)
        .split(':')
        .map(|directory| process.cwd().join(directory).join(name))
        .find(|path| executable(path).is_ok())
        .ok_or_else(|| RunError::NotFound { name: name.clone() })
}

fn executable(path: &Path) -> Result<(), Errno> {
    let error = |error: rustix::io::Errno| Errno::from_raw(error.raw_os_error());
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::stat(path).map_err(error)?.st_mode);
    if !kind.is_file() {
        return Err(Errno::EACCES);
    }
    rustix::fs::access(path, Access::EXEC_OK).map_err(error)
}

fn strings<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<CString>, NulError> {
    texts.into_iter().map(|text| CString::new(text.as_bytes())).collect()
}

const fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The process is not confined as it must be.
#[derive(Debug, thiserror::Error)]
enum GuardError {
    #[error("failed to load the system call filter: {0}")]
    Load(#[from] SeccompError),
    #[error("failed to drop capabilities: {0}")]
    Drop(#[from] SyscallError),
    #[error("the system call filter is missing")]
    NoFilter,
    #[error("no_new_privileges is not set")]
    NewPrivileges,
    #[error("the process holds capabilities that were not granted")]
    Capabilities,
    #[error("failed to inspect the process: {0}")]
    Inspect(#[from] rustix::io::Errno),
}

/// The program did not run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the spec names no program")]
    NoProgram,
    #[error("executable {name:?} not found in PATH")]
    NotFound { name: String },
    #[error("failed to run {program:?}: {source}")]
    Exec { program: PathBuf, source: Errno },
    #[error("an argument or variable holds a NUL character")]
    Nul(#[from] NulError),
    #[error("failed to prepare the process: {0}")]
    Prepare(#[from] Errno),
    #[error("failed to set the terminal's size: {0}")]
    Size(#[from] rustix::io::Errno),
    #[error("refused to run the program: {0}")]
    Guard(#[from] GuardError),
}

const HOME: &str = "HOME=";

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use libcontainer::oci_spec::runtime::ProcessBuilder;
    use libcontainer::oci_spec::runtime::SpecBuilder;

    use super::*;
    use crate::spec::capability_sets;

    fn process(argv: &[&str], env: &[String], cwd: &Path) -> Process {
        ProcessBuilder::default()
            .args(argv.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
            .env(env.to_vec())
            .cwd(cwd)
            .build()
            .unwrap()
    }

    /// `first/tool` is not executable, `second/tool` is; `second/directory` is a directory.
    fn directories() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (directory, mode) in [("first", 0o644), ("second", 0o755)] {
            let directory = root.path().join(directory);
            std::fs::create_dir(&directory).unwrap();
            let tool = directory.join("tool");
            std::fs::write(&tool, "").unwrap();
            std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(root.path().join("second/directory")).unwrap();
        root
    }

    #[test]
    fn a_program_is_found_as_a_shell_would() {
        let root = directories();
        let path = root.path();
        let env = [format!("PATH={0}/first:{0}/second", path.display())];
        let find = |name: &str, env: &[String]| program(&process(&[name], env, path));
        assert_eq!(find("tool", &env).unwrap(), path.join("second/tool"));
        // Relative to the working directory, in the name or in PATH.
        assert_eq!(find("./second/tool", &env).unwrap(), path.join("./second/tool"));
        let relative = ["PATH=second".to_owned()];
        assert_eq!(find("tool", &relative).unwrap(), path.join("second/tool"));
        for (name, env) in [("directory", &env[..]), ("absent", &env), ("no-such-tool", &[])] {
            assert!(matches!(find(name, env), Err(RunError::NotFound { .. })), "{name}");
        }
        for name in ["first/tool", "second/directory", "second/absent"] {
            assert!(matches!(find(name, &env), Err(RunError::Exec { .. })), "{name}");
        }
    }

    #[test]
    fn home_is_added_only_where_it_is_missing() {
        let executor = Executor::new(guards(None, &[]), None);
        let home = HashMap::from([("HOME".to_owned(), "/home/me".to_owned())]);
        workload::Executor::setup_envs(&executor, home).unwrap();
        let environment = |env: &[&str]| {
            let env: Vec<String> = env.iter().map(|v| (*v).to_owned()).collect();
            executor.environment(&process(&["x"], &env, Path::new("/")))
        };
        assert_eq!(environment(&["B=1", "A=2"]), ["B=1", "A=2", "HOME=/home/me"]);
        assert_eq!(environment(&["HOME=/x"]), ["HOME=/x"]);
    }

    fn guards(no_new_privileges: Option<bool>, capabilities: &[&str]) -> Guards {
        let mut process = process(&["x"], &[], Path::new("/"));
        process.set_no_new_privileges(no_new_privileges);
        process.set_capabilities(Some(capability_sets(capabilities.iter().copied()).unwrap()));
        Guards::new(Filter::None, &process)
    }

    #[test]
    fn a_process_without_what_its_spec_says_runs_nothing() {
        // This process has neither filter nor bit.
        let mut without_filter = guards(None, &[]);
        without_filter.filter = Filter::There;
        assert!(matches!(without_filter.verify(), Err(GuardError::NoFilter)));
        if !rustix::thread::no_new_privs().unwrap() {
            assert!(matches!(guards(Some(true), &[]).verify(), Err(GuardError::NewPrivileges)));
        }
        if rustix::thread::capabilities(None).unwrap().permitted.is_empty() {
            assert!(guards(None, &[]).verify().is_ok());
        } else {
            assert!(matches!(guards(None, &[]).verify(), Err(GuardError::Capabilities)));
        }
    }

    #[test]
    fn only_an_exec_without_the_bit_needs_privilege_for_its_filter() {
        let profile = crate::seccomp::default_profile(&[]).unwrap();
        let linux = libcontainer::oci_spec::runtime::LinuxBuilder::default().seccomp(profile);
        let spec = SpecBuilder::default().linux(linux.build().unwrap()).build().unwrap();
        let mut process = process(&["x"], &[], Path::new("/"));
        process.set_no_new_privileges(None);
        assert!(Guards::of_exec(&spec, &process).filter_needs_privilege());
        assert!(!Guards::of_init(&spec, &process).filter_needs_privilege());
        process.set_no_new_privileges(Some(true));
        assert!(!Guards::of_exec(&spec, &process).filter_needs_privilege());
    }
}
