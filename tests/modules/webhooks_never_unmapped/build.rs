//! Links the module so that it stays mapped for good, as a toolchain may do with every library one day; and without what is
//! there for debuggers, since a test has a thousand copies of it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-link-arg-cdylib=-Wl,-z,nodelete");
        println!("cargo:rustc-link-arg-cdylib=-Wl,--strip-all");
    }
}
