/** `heddle connect proxy`: the data plane. */
import { main, usage } from "@heddle/connect-proxy";

export const run = (argv: string[]): Promise<number> => main(argv, process.env);

/** Its flags, as its help lists them. */
export const words = usage;
