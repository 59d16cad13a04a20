/** Names on the bus: streams and subjects of one fleet. */

/** The names of a fleet called so. */
export interface BusNames {
  /** Stream and subject of the log. */
  readonly logStream: string;
  readonly logSubject: string;
  /** Stream of snapshots and long bodies. */
  readonly piecesStream: string;
  readonly piecesSubjects: string;
  /** Names the newest snapshot. */
  readonly newestSnapshot: string;
  /** Names a snapshot. */
  snapshot(number: number): string;
  snapshotPiece(number: number, piece: number): string;
  entryPiece(sequence: number, piece: number): string;
}

/** Names for a fleet; `name` holds letters, digits, - and _ only. */
export function busNames(name: string): BusNames {
  const upper = name.toUpperCase();
  return {
    logStream: `${upper}-LOG`,
    logSubject: `${name}.log`,
    piecesStream: `${upper}-PIECES`,
    piecesSubjects: `${name}.pieces.>`,
    newestSnapshot: `${name}.pieces.newest`,
    snapshot: (number) => `${name}.pieces.snapshot.${number}`,
    snapshotPiece: (number, piece) => `${name}.pieces.snapshot.${number}.${piece}`,
    entryPiece: (sequence, piece) => `${name}.pieces.entry.${sequence}.${piece}`,
  };
}
