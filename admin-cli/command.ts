export interface Command {
  /** Everything that --help shows. */
  readonly help: string
  /** Gets the words after the command's name. */
  readonly run: (args: readonly string[]) => Promise<void>
}
