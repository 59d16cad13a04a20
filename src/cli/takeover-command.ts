/** How `proxima takeover` is written on the command line. */
import { isIP } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Io } from "./io.ts";
import type { TakeoverCommandOptions } from "./takeover.ts";

/** Adds the command. */
export function addTakeoverCommand(root: Command, io: Io, exitHelp: string): void {
  root
    .command("takeover")
    .description(
      "make the local CA and print the hosts entries for clients that only ask their vendor's hosts",
    )
    .option("--data-dir <DIR>", "directory of the control plane", "./.proxima-control")
    .addOption(
      new Option("--address <ADDRESS>", "IP address of the control plane, as the clients see it")
        .default("127.0.0.1")
        .argParser((text: string) => {
          if (isIP(text) === 0) throw new InvalidArgumentError("Expected an IP address.");
          return text;
        }),
    )
    .option("--hosts", "print the lines for the hosts file alone")
    .option("--env", "print the variables of the environment alone")
    .addHelpText(
      "after",
      `
The control plane itself is started with \`proxima control --takeover 127.0.0.1:443\`.

Examples:
  $ proxima takeover
  $ proxima takeover --hosts >> /etc/hosts
  $ export $(proxima takeover --env)
${exitHelp}`,
    )
    .action(async (options: TakeoverCommandOptions) => {
      const { takeoverCommand } = await import("./takeover.ts");
      await takeoverCommand(options, io);
    });
}
