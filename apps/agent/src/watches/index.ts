export { connectToSelf } from "./self.ts";
export { Watches } from "./watches.ts";
