//! Lets the executable stand before two functions of the C library, as the host's own does; why, says its `module/tls_keys.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    let glibc = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|library| library == "gnu");
    if linux && glibc {
        for function in ["pthread_key_create", "pthread_create"] {
            println!("cargo:rustc-link-arg=-Wl,--export-dynamic-symbol={function}");
        }
    }
}
