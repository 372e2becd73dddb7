export { createChannel } from "./channel.ts";
export { createFrameReader, FRAME_HEAD_BYTES, toFrame } from "./frame.ts";
export { MessageReader, MessageWriter } from "./protobuf.ts";
export { createGrpcServer } from "./server.ts";
export { decodeStatusMessage, encodeStatusMessage, GRPC, GrpcError } from "./status.ts";
export type { CallOptions, Channel, ChannelOptions, GrpcStream, StreamHandlers } from "./channel.ts";
export type { GrpcCall, GrpcMethod } from "./server.ts";
