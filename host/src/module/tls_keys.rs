//! Gives back what a module's library took from the process, so that the library may be unmapped.
//!
//! The standard library inside a module takes a thread-local key whose destructor lies in the module, and never
//! gives it back: at about the thousandth reload the process has no more keys and aborts, and a thread that ends
//! after the unload jumps into nothing. So the host's executable stands before `pthread_key_create` and
//! `pthread_create` of the C library (the linker flags are in `build.rs`): it notes which addresses keys and
//! threads belong to, deletes the keys of a library before it is unmapped, and knows threads that still live.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::stall::StallDeadline;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use glibc as system;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
use none as system;

/// Thread-local keys of a process; the C library has no more.
pub const KEYS: u32 = 1024;

/// Whether this process notes what libraries take. Without that nothing is ever unmapped.
#[must_use]
pub fn is_at_work() -> bool {
    system::is_at_work()
}

/// The addresses at which an opened library is mapped; nothing when it is not mapped.
#[must_use]
pub fn mapping(copy: &Path) -> Option<Range<usize>> {
    system::mapping(copy)
}

/// Threads that began inside these addresses and still live.
#[must_use]
pub fn live_threads(of: &Range<usize>) -> usize {
    system::live_threads(of)
}

/// Waits until no thread that began inside these addresses lives any more; says false when one still does after
/// `within`. A thread that was joined is still there for a moment, and may run its last destructor.
#[must_use]
pub fn threads_are_gone(of: &Range<usize>, within: Duration) -> bool {
    let until = StallDeadline::after(within);
    while live_threads(of) > 0 {
        if until.has_passed() {
            return false;
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
    true
}

/// Deletes the thread-local keys whose destructors lie inside these addresses; says how many.
pub fn delete_keys(of: &Range<usize>) -> usize {
    system::delete_keys(of)
}

/// The thread-local key that would be given out next: how many are taken, if none below is free.
#[must_use]
pub fn next_key() -> u32 {
    system::next_key()
}

/// Whether another process, or this one, has the file open for writing; nothing where the system cannot tell.
#[must_use]
pub fn is_being_written(file: &std::fs::File) -> Option<bool> {
    system::is_being_written(file)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::{CStr, c_int, c_void};
    use std::ops::Range;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use libc::{dl_phdr_info, pthread_attr_t, pthread_key_t, pthread_t, size_t};
    use parking_lot::Mutex;

    type Destructor = Option<unsafe extern "C" fn(*mut c_void)>;
    type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;
    type Create = unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;

    unsafe extern "C" {
        fn __pthread_key_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int;
    }

    /// The address of each key's destructor.
    static DESTRUCTORS: [AtomicUsize; super::KEYS as usize] =
        [const { AtomicUsize::new(0) }; super::KEYS as usize];

    /// Threads that did not begin in the executable.
    static THREADS: Mutex<Vec<Noted>> = Mutex::new(Vec::new());

    struct Noted {
        start: usize,
        /// 0 until it runs; noted by its parent before it exists, so that none is missed.
        tid: i32,
        nth: usize,
    }

    static NTH: AtomicUsize = AtomicUsize::new(0);

    /// Stands before the C library's function of this name.
    ///
    /// # Safety
    /// As that function: `key` can be written to.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn pthread_key_create(
        key: *mut pthread_key_t,
        destructor: Destructor,
    ) -> c_int {
        // SAFETY: the caller's promises are those of the function that is called; it is the same function of
        // the C library under its other name.
        let code = unsafe { __pthread_key_create(key, destructor) };
        if code == 0 {
            // SAFETY: the call above has written it.
            let key = unsafe { *key } as usize;
            if let Some(noted) = DESTRUCTORS.get(key) {
                noted.store(destructor.map_or(0, |destructor| destructor as usize), Ordering::Relaxed);
            }
        }
        code
    }

    /// Stands before the C library's function of this name.
    ///
    /// # Safety
    /// As that function.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        start: Start,
        argument: *mut c_void,
    ) -> c_int {
        let Some(create) = real_create() else { return libc::EAGAIN };
        if executable().contains(&(start as usize)) {
            // SAFETY: the caller's promises are those of the function that is called.
            return unsafe { create(thread, attributes, start, argument) };
        }
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        THREADS.lock().push(Noted { start: start as usize, tid: 0, nth });
        let begun = Box::into_raw(Box::new(Begun { start, argument, nth }));
        // SAFETY: as above; `begin` takes the box that it is given.
        let code = unsafe { create(thread, attributes, begin, begun.cast()) };
        if code != 0 {
            // SAFETY: no thread was made, so nobody else has the box.
            drop(unsafe { Box::from_raw(begun) });
            THREADS.lock().retain(|noted| noted.nth != nth);
        }
        code
    }

    struct Begun {
        start: Start,
        argument: *mut c_void,
        nth: usize,
    }

    extern "C-unwind" fn begin(begun: *mut c_void) -> *mut c_void {
        // SAFETY: `pthread_create` above made it from a box, for this one call.
        let begun = unsafe { Box::from_raw(begun.cast::<Begun>()) };
        // SAFETY: it has no arguments and cannot fail.
        let tid = unsafe { libc::gettid() };
        for noted in THREADS.lock().iter_mut().filter(|noted| noted.nth == begun.nth) {
            noted.tid = tid;
        }
        let Begun { start, argument, .. } = *begun;
        start(argument)
    }

    fn real_create() -> Option<Create> {
        static REAL: AtomicUsize = AtomicUsize::new(0);
        let mut address = REAL.load(Ordering::Relaxed);
        if address == 0 {
            // SAFETY: the name ends with a zero byte; the handle is the one for "the next library".
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) }.addr();
            REAL.store(address, Ordering::Relaxed);
        }
        // SAFETY: the C library's `pthread_create` has this type; nothing is found only where there is none.
        unsafe {
            std::mem::transmute::<*const c_void, Option<Create>>(std::ptr::with_exposed_provenance(address))
        }
    }

    pub(super) fn is_at_work() -> bool {
        static AT_WORK: OnceLock<bool> = OnceLock::new();
        let found_first = |name: &CStr, ours: usize| {
            // SAFETY: the name ends with a zero byte; the handle is the one for the usual order of look-up.
            unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.addr() == ours
        };
        *AT_WORK.get_or_init(|| {
            found_first(c"pthread_key_create", pthread_key_create as *const () as usize)
                && found_first(c"pthread_create", pthread_create as *const () as usize)
        })
    }

    struct Sought<'a> {
        /// Nothing: the executable, which comes first.
        name: Option<&'a [u8]>,
        found: Option<Range<usize>>,
    }

    extern "C" fn visit(info: *mut dl_phdr_info, _: size_t, sought: *mut c_void) -> c_int {
        // SAFETY: `find` hands its own variable through the loader to this function, and only lends it.
        let sought = unsafe { &mut *sought.cast::<Sought<'_>>() };
        // SAFETY: the loader lends a valid description for this call.
        let info = unsafe { &*info };
        if let Some(name) = sought.name {
            if info.dlpi_name.is_null() {
                return 0;
            }
            // SAFETY: the loader's names are not null here and end with a zero byte.
            let of_this = unsafe { CStr::from_ptr(info.dlpi_name) };
            if of_this.to_bytes() != name {
                return 0;
            }
        }
        // SAFETY: the loader says how many headers there are, and they stay while the object is mapped.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let base = info.dlpi_addr as usize;
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let (low, high) = loaded.fold((usize::MAX, 0), |(low, high), header| {
            let start = base + header.p_vaddr as usize;
            (low.min(start), high.max(start + header.p_memsz as usize))
        });
        sought.found = Some(low..high);
        1
    }

    fn find(name: Option<&[u8]>) -> Option<Range<usize>> {
        let mut sought = Sought { name, found: None };
        // SAFETY: `visit` has the type that is asked for and gets back the pointer to `sought`, which outlives
        // the call.
        unsafe { libc::dl_iterate_phdr(Some(visit), std::ptr::from_mut(&mut sought).cast()) };
        sought.found
    }

    fn executable() -> &'static Range<usize> {
        static EXECUTABLE: OnceLock<Range<usize>> = OnceLock::new();
        EXECUTABLE.get_or_init(|| find(None).unwrap_or(0..usize::MAX))
    }

    pub(super) fn mapping(copy: &Path) -> Option<Range<usize>> {
        find(Some(copy.as_os_str().as_bytes()))
    }

    pub(super) fn live_threads(of: &Range<usize>) -> usize {
        let mut threads = THREADS.lock();
        // A thread that is gone from here has run its last destructor.
        threads
            .retain(|noted| noted.tid == 0 || Path::new(&format!("/proc/self/task/{}", noted.tid)).exists());
        threads.iter().filter(|noted| of.contains(&noted.start)).count()
    }

    pub(super) fn delete_keys(of: &Range<usize>) -> usize {
        let mut deleted = 0;
        for (key, noted) in (0..).zip(&DESTRUCTORS) {
            let destructor = noted.load(Ordering::Relaxed);
            if destructor != 0 && of.contains(&destructor) {
                noted.store(0, Ordering::Relaxed);
                // SAFETY: any number may be given; of a key that is taken nobody makes use any more, as the
                // threads that ran the library's code have ended.
                deleted += usize::from(unsafe { libc::pthread_key_delete(key) } == 0);
            }
        }
        deleted
    }

    pub(super) fn next_key() -> u32 {
        let mut key: pthread_key_t = 0;
        // SAFETY: `key` can be written to.
        if unsafe { __pthread_key_create(&raw mut key, None) } != 0 {
            return super::KEYS;
        }
        // SAFETY: the key was made above and nobody else knows it.
        unsafe { libc::pthread_key_delete(key) };
        key
    }

    pub(super) fn is_being_written(file: &std::fs::File) -> Option<bool> {
        const F_SETSIG: c_int = 10;
        let file = file.as_raw_fd();
        // Whoever opens the file for writing in the moment of the lease sends this signal to us, which by
        // itself does nothing; the usual one would end the process.
        // SAFETY: the descriptor is open; the command takes a number.
        if unsafe { libc::fcntl(file, F_SETSIG, libc::SIGURG) } != 0 {
            return None;
        }
        // SAFETY: as above.
        if unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) } == 0 {
            // SAFETY: as above.
            unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_UNLCK) };
            return Some(false);
        }
        match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => Some(true),
            _ => None,
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod none {
    use std::ops::Range;
    use std::path::Path;

    pub(super) fn is_at_work() -> bool {
        false
    }

    pub(super) fn mapping(_: &Path) -> Option<Range<usize>> {
        None
    }

    pub(super) fn live_threads(_: &Range<usize>) -> usize {
        0
    }

    pub(super) fn delete_keys(_: &Range<usize>) -> usize {
        0
    }

    pub(super) fn next_key() -> u32 {
        0
    }

    pub(super) fn is_being_written(_: &std::fs::File) -> Option<bool> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_before_the_c_library() {
        assert!(is_at_work());
    }

    #[test]
    fn a_library_that_is_not_mapped_has_no_addresses() {
        assert_eq!(mapping(Path::new("/no/such/library.so")), None);
    }

    #[test]
    fn a_file_is_being_written_while_somebody_has_it_open_for_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = std::fs::File::create(&path).unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        // A file system without leases says nothing, and then the age of the file decides.
        if let Some(being_written) = is_being_written(&reader) {
            assert!(being_written);
            drop(writer);
            assert_eq!(is_being_written(&reader), Some(false));
        }
    }
}
