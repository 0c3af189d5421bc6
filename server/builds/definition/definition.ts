/** The parts of a definition file. Lines are counted from 1. */

export interface Definition {
  readonly stages: readonly Stage[]
  /** What the programs refuse to read, in the order of the lines. */
  readonly faults: readonly Problem[]
  /** The file with the build arguments in their places, line for line; empty where it has faults. */
  readonly text: string
}

export interface Problem {
  /** Zero where it is about the file as a whole. */
  readonly line: number
  /** A sentence for the person who wrote the file. */
  readonly message: string
}

/** Each `Bootstrap:` begins one; the image is that of the last. */
export interface Stage {
  /** Of its first header, or of its first section when it has none. */
  readonly line: number
  /** By their names in lower case; of two with one name the last counts. */
  readonly headers: ReadonlyMap<string, Header>
  readonly sections: readonly Section[]
}

export interface Header {
  readonly value: string
  readonly line: number
}

export interface Section {
  /** In lower case, without the percent sign: `post`, `appinstall`. */
  readonly name: string
  /** What stands behind the name as it is written: `-c /bin/bash`, `from build`, an app's name. */
  readonly argument: string
  readonly line: number
  /** The lines below, the first of which is `line + 1`; without carriage returns. */
  readonly body: readonly string[]
}

/** One line of `%files` or `%appfiles`. */
export interface FileCopy {
  /** As it is written: it may be relative, and a pattern. */
  readonly source: string
  /** Empty when it is to be the source's path. */
  readonly destination: string
  readonly line: number
}
