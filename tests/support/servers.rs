//! Servers that customers really use, each with a configuration and a folder of its own, on a free port.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{Authority, eventually};

/// Answers every request with 200 and writes down what came, a line for each request.
const NODE: &str = r#"
const server = require("http").createServer((request, answer) => {
  request.resume();
  request.on("end", () => { console.log("asked " + request.socket.remotePort); answer.end("ok"); });
});
server.listen(0, "127.0.0.1", () => console.log("port " + server.address().port));
"#;

const PYTHON: &str = r#"
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        print("asked %d" % self.client_address[1], flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("port %d" % server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Such a server; it ends when dropped.
pub struct RealServer {
    port: u16,
    folder: TempDir,
    _program: Child,
}

impl RealServer {
    /// Node.js with its `http` as it is: idle connections are closed after five seconds.
    ///
    /// # Panics
    /// It does not start.
    pub async fn node() -> Self {
        Self::telling("node", &["-e", NODE]).await
    }

    /// Python's `http.server`: HTTP/1.0, a connection for each request.
    ///
    /// # Panics
    /// It does not start.
    pub async fn python() -> Self {
        Self::telling("python3", &["-c", PYTHON]).await
    }

    /// A program that says its port, and each request as it comes.
    async fn telling(program: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let output = std::fs::File::create(&log).expect("a file");
        let started = Command::new(program).args(arguments).stdout(output).kill_on_drop(true).spawn();
        let child = started.unwrap_or_else(|error| panic!("{program}: {error}"));
        let said = || async {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.split_once('\n')?.0.strip_prefix("port ")?.parse().ok()
        };
        let port = eventually("the server says its port", said).await;
        RealServer { port, folder, _program: child }
    }

    /// nginx with TLS that speaks HTTP/2 where it is asked for it, or HTTP/1.1 without TLS, and closes each connection
    /// after so many requests.
    ///
    /// # Panics
    /// It does not start.
    pub async fn nginx(authority: Option<&Authority>, requests: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let tls = authority.map(|authority| {
            let (certificate, key) = authority.certificate_files("127.0.0.1");
            let (certificate, key) = (certificate.display(), key.display());
            format!(
                "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
            )
        });
        let listen =
            if tls.is_some() { format!("127.0.0.1:{port} ssl http2") } else { format!("127.0.0.1:{port}") };
        let root = folder.path().display();
        let tls = tls.unwrap_or_default();
        let configuration = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error info;\n\
             events {{ worker_connections 256; }}\n\
             http {{ log_format one 'asked $remote_port $status'; access_log {root}/log one;\n\
             client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;\n\
             uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi; keepalive_requests {requests};\n\
             server {{ listen {listen}; {tls} location / {{ return 200 'ok'; }} }} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration).expect("a file");
        let program = nginx_program();
        let started = Command::new(program)
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let child = started.unwrap_or_else(|error| panic!("{program}: {error}"));
        let takes = || async { TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop) };
        eventually("nginx takes connections", takes).await;
        RealServer { port, folder, _program: child }
    }

    /// An address on it.
    #[must_use]
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    /// Requests that it has answered, by the client's port.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().filter_map(|line| line.strip_prefix("asked ")).map(str::to_owned).collect()
    }
}

/// nginx takes no port 0.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn nginx_program() -> &'static str {
    // Not in everybody's path.
    let known = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx"];
    known.into_iter().find(|program| Path::new(program).exists()).unwrap_or("nginx")
}
