/** For tests of whoever carries connections: a small agent, and the words of a tunnel to speak them by hand. */
export { startFakeAgent } from "./testing-agent.ts";
export { ALPN, ALPNS, FRAME, HEADER_BYTES, USUAL_ALPN, USUAL_DATA_BYTES, writeHeader } from "./tunnel/frames.ts";
export { INITIAL_WINDOW } from "./tunnel/window.ts";
export type { AgentState, FakeAgent } from "./testing-agent.ts";
export type { FrameType } from "./tunnel/frames.ts";
