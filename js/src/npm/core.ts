// `jupyter-sse/core`: what reads streams and makes of them a state. It needs no DOM.

export { AudioStreamConsumer, type AudioChunk, type AudioStreamConsumerOptions } from "../core/audio";
export { type AnyEvent, type ConnectionOptions, type ConnectionState, type Message, type Problem } from "../core/connection";
export { SSEConsumer, type SSEConsumerOptions } from "../core/consumer";
export * from "../core/events";
export { SocketConsumer } from "../core/socket";
export { type CancelAnswer, type SourceState, type StreamSource, type StreamStatus, statusOf } from "../core/source";
export { emptySnapshot, fold, type NumberedEvent } from "../core/state";
export { URLSource, type URLSourceOptions } from "../core/urlsource";
