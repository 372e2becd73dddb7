/** `heddle connect proxy`: the data plane. */
import { main } from "@heddle/connect-proxy";

export const run = (argv: string[]): Promise<number> => main(argv, process.env);
