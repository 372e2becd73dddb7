export { startConnect } from "./connect.ts";
export { MeshSocket } from "./mesh-socket.ts";
export { createLogHub } from "@heddle/daemon";
export { RefusedError } from "@heddle/data-plane";
export type { Connect, ConnectOptions, DialOptions } from "./connect.ts";
export type { MeshPeer } from "./mesh-socket.ts";
export type { MeshServer, ServerOptions } from "./server.ts";
export type { Refusal, RefusalCode } from "@heddle/data-plane";
