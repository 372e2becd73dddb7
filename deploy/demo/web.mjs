// A service that asks echo: what is posted goes through the mesh and comes back. It knows nothing of TLS.
import { createServer } from "node:http";
import { connect } from "node:net";

const MAX_BODY_BYTES = 1024 * 1024;

const server = createServer((req, res) => {
  if (req.method !== "POST") return res.end("POST something, and echo sends it back through the mesh.\n");
  if (!(Number(req.headers["content-length"]) <= MAX_BODY_BYTES)) return res.writeHead(413).end();
  const echo = connect({ port: 9191, host: "127.0.0.1", allowHalfOpen: true });
  const answer = [];
  echo.on("data", (chunk) => answer.push(chunk));
  echo.once("end", () => {
    const body = Buffer.concat(answer);
    const isWhole = body.length === Number(req.headers["content-length"]);
    res.writeHead(isWhole ? 200 : 502).end(isWhole ? body : "echo did not answer\n");
  });
  echo.once("error", (error) => res.headersSent || res.writeHead(502).end(`echo is not reachable: ${error.message}\n`));
  res.once("close", () => echo.destroy());
  req.on("error", () => echo.destroy());
  req.pipe(echo);
});
server.listen(8080, "0.0.0.0", () => console.log("web on port 8080"));
process.once("SIGTERM", () => process.exit(0));
