export { ManualClock } from "./manual-clock.ts";
export { rememberCaller } from "./internal.ts";
