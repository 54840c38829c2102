//! What the process takes off of its starter before it opens the module.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

/// Takes off what the process has of its starter, and returns the line to the host and the lifeline.
pub(super) fn take_off() -> std::io::Result<(UnixStream, UnixStream)> {
    close_inherited();
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    // Tells a socket from the file or terminal that somebody at a shell would have there.
    socket.peer_addr()?;
    let lifeline = UnixStream::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    lifeline.peer_addr()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    // What the module prints is heard where its errors are.
    nix::unistd::dup2_stdout(std::io::stderr().as_fd())?;
    // These are for the host, which ends its modules when it is done with them. Threads inherit it.
    let mut terminal = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        terminal.add(signal);
    }
    terminal.thread_block()?;
    // No core file: not even a byte more than one, the value with which Linux does not start a collector either.
    setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
    // When memory runs out the system is to take the module and not the host. Other systems have no such file.
    _ = std::fs::write("/proc/self/oom_score_adj", "500");
    Ok((socket, lifeline))
}

/// Descriptors that the host inherited from whoever started it, and so did we; its own are not inheritable.
fn close_inherited() {
    let number =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let Ok(open) = std::fs::read_dir("/dev/fd") else { return };
    // All of them before the first is closed: the list is read through one.
    let open: Vec<i32> = open.filter_map(number).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // That of the list is closed already.
        _ = nix::unistd::close(descriptor);
    }
}
