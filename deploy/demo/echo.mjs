// A service that sends back what it gets, on loopback alone.
import { createServer } from "node:net";

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  socket.pipe(socket);
});
server.listen(9000, "127.0.0.1", () => console.log("echo on 127.0.0.1:9000"));
process.once("SIGTERM", () => process.exit(0));
