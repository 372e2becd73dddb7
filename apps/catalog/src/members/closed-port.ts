/** Whether a process is gone for certain: its host answers, and says that nobody listens where it did. */
import { connect } from "node:net";

/** True where the connection is refused; false where it is taken, where nothing answers in time, and for every other error. */
export function isPortClosed(url: string, timeoutMs: number): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ""), port: Number(port), timeout: timeoutMs });
    const done = (isClosed: boolean) => {
      socket.destroy();
      resolve(isClosed);
    };
    socket.once("connect", () => done(false));
    socket.once("timeout", () => done(false));
    socket.once("error", (error: NodeJS.ErrnoException) => done(error.code === "ECONNREFUSED"));
  });
}
