export interface ParseOptions {
  /** Where the input stands, for messages: "services[0]". */
  path?: string;
  /** "api" (default): a request body, with Consul's messages; "file": a block of a file, every problem at once. */
  source?: "api" | "file";
}
