/** What the system knows of processes and of the connections that they hold (Linux). */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Processes whose parent is this one, oldest first. */
export function childrenOf(pid: number): number[] {
  const found = readdirSync("/proc")
    .map(Number)
    .filter((id) => Number.isInteger(id) && statOf(id)?.parent === pid);
  return found.sort((a, b) => (statOf(a)?.start ?? 0) - (statOf(b)?.start ?? 0) || a - b);
}

/** Does this process run? One that has ended and whose parent has not heard of it yet does not. */
export function isRunning(pid: number): boolean {
  return statOf(pid) !== null;
}

/** Ports of the viewers whose connections to `port` this process holds. */
export function viewersOf(pid: number, port: number): Set<number> {
  const inodes = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) inodes.add(inode);
    } catch {
      // Closed meanwhile.
    }
  }
  const viewers = new Set<number>();
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)) {
    const [, local = "", remote = "", , , , , , , inode = ""] = line.trim().split(/\s+/);
    if (portOf(local) === port && inodes.has(inode)) viewers.add(portOf(remote));
  }
  return viewers;
}

function portOf(address: string): number {
  return Number.parseInt(address.split(":")[1] ?? "", 16);
}

function statOf(pid: number): { parent: number; start: number } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? null : { parent: Number(fields[1]), start: Number(fields[19]) };
  } catch {
    return null;
  }
}
