// SPDX-License-Identifier: Apache-2.0
//! System calls by what they are for. Names are those of the kernel's table for x86-64, separated
//! by blanks.

/// Allowed to every container.
pub(super) const ALWAYS: &[&str] = &[
    PROCESSES,
    SIGNALS,
    SCHEDULING,
    CREDENTIALS,
    LIMITS,
    MEMORY,
    LOCKING,
    TIME,
    FILES,
    METADATA,
    DIRECTORIES,
    ATTRIBUTES,
    DESCRIPTORS,
    WAITING,
    NETWORK,
    SYSTEM_V_IPC,
    MESSAGE_QUEUES,
    ASYNC_IO,
    SANDBOXING,
    MACHINE,
    TRACING,
];

/// Allowed to a container that has the capability.
pub(super) const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime settimeofday"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// Known and refused, unless a capability allows it.
pub(super) const KNOWN_AND_REFUSED: &[&str] = &[
    // mounts and namespaces
    "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root \
     setdomainname sethostname setns umount2 unshare",
    // kernel code, kernel memory, devices
    "bpf create_module delete_module finit_module get_kernel_syms init_module ioperm iopl \
     kexec_file_load kexec_load perf_event_open query_module reboot syslog userfaultfd vhangup",
    // accounting, quotas, swap
    "acct quotactl quotactl_fd swapoff swapon",
    // the kernel's keyrings know no namespaces
    "add_key keyctl request_key",
    // ways around a filter or into other processes and files
    "fanotify_init io_uring_enter io_uring_register io_uring_setup kcmp lookup_dcookie \
     open_by_handle_at pidfd_getfd process_madvise",
    // memory placement
    "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    // the clock
    "clock_settime settimeofday",
    // history
    "_sysctl afs_syscall getpmsg nfsservctl putpmsg security sysfs tuxcall uselib ustat vserver",
];

const PROCESSES: &str = "\
    arch_prctl execve execveat exit exit_group fork get_thread_area getpgid getpgrp getpid getppid \
    getsid gettid modify_ldt pidfd_open prctl process_mrelease restart_syscall rseq \
    set_robust_list get_robust_list set_thread_area set_tid_address setpgid setsid vfork wait4 \
    waitid";

const SIGNALS: &str = "\
    alarm kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4 \
    tgkill tkill";

const SCHEDULING: &str = "\
    getcpu getpriority ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min \
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield setpriority";

const CREDENTIALS: &str = "\
    capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid \
    setgid setgroups setregid setresgid setresuid setreuid setuid";

const LIMITS: &str = "getrlimit getrusage prlimit64 setrlimit sysinfo times";

const MEMORY: &str = "\
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 \
    mlockall mmap mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free \
    pkey_mprotect remap_file_pages";

const LOCKING: &str = "flock futex futex_requeue futex_wait futex_waitv futex_wake";

const TIME: &str = "\
    adjtimex clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday \
    nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime \
    timer_settime timerfd_create timerfd_gettime timerfd_settime";

const FILES: &str = "\
    cachestat close close_range copy_file_range creat fadvise64 fallocate fdatasync fsync \
    ftruncate lseek open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read \
    readahead readv sendfile splice sync sync_file_range syncfs tee truncate vmsplice write writev";

const METADATA: &str = "\
    access chmod chown faccessat faccessat2 fchmod fchmodat fchmodat2 fchown fchownat fstat \
    fstatfs futimesat lchown listmount lstat name_to_handle_at newfstatat stat statfs statmount \
    statx umask utime utimensat utimes";

const DIRECTORIES: &str = "\
    chdir fanotify_mark fchdir getcwd getdents getdents64 inotify_add_watch inotify_init \
    inotify_init1 inotify_rm_watch link linkat mkdir mkdirat mknod mknodat readlink readlinkat \
    rename renameat renameat2 rmdir symlink symlinkat unlink unlinkat";

const ATTRIBUTES: &str = "\
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr \
    listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat";

const DESCRIPTORS: &str = "dup dup2 dup3 eventfd eventfd2 fcntl ioctl pipe pipe2";

const WAITING: &str = "\
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old poll ppoll pselect6 select";

const NETWORK: &str = "\
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg \
    recvmsg sendmmsg sendmsg sendto setsockopt shutdown socketpair";

const SYSTEM_V_IPC: &str = "\
    msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget";

const MESSAGE_QUEUES: &str = "\
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink";

const ASYNC_IO: &str = "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit";

const SANDBOXING: &str = "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp";

const MACHINE: &str = "getrandom uname uretprobe";

/// Within a container's own process namespace.
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";
