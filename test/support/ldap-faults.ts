/**
 * Faults for a proxy before an LDAP server. Some of them speak LDAP themselves, a message or two: BER
 * with lengths below 128 in one byte, and with two bytes above.
 */
import type { Fault, Wire } from './tcp-proxy.ts'

const bindRequest = 0x60
const bindResponse = 0x61
const searchRequest = 0x63
const extendedRequest = 0x77
const extendedResponse = 0x78

/** Takes everything and never answers. */
export const blackHole: Fault = { fromClient: () => {}, fromServer: () => {} }

/** Cuts the connection when the TLS handshake begins. */
export const cutInHandshake: Fault = {
  fromClient: (bytes, wire) => {
    if (bytes[0] === 0x16) wire.cut()
    else wire.toServer(bytes)
  },
}

/** Says that the server knows no StartTLS (protocolError). What follows goes on to the server. */
export const startTlsStripped: Fault = answerStartTls((id, wire) => {
  wire.toClient(ldapResult(id, extendedResponse, 2))
})

/** Says yes to StartTLS and then nothing more. */
export const startTlsStalled: Fault = {
  fromClient: (bytes, wire) => {
    const message = readMessage(bytes)
    if (message?.operation === extendedRequest) {
      wire.toClient(ldapResult(message.id, extendedResponse, 0))
    }
  },
}

/**
 * Puts bytes of its own behind the server's answer to StartTLS, in clear: the beginning of a
 * successful answer to a bind, whose text is what comes next on the wire.
 */
export function startTlsInjected(bindId: number): Fault {
  let isFirst = true
  return {
    fromServer: (bytes, wire) => {
      if (!isFirst) {
        wire.toClient(bytes)
        return
      }
      isFirst = false
      // The answer of a bind that failed with empty texts has 14 bytes.
      const head = [0x30, 0x1a, 0x02, 0x01, bindId, bindResponse, 0x15]
      const result = [0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 14]
      wire.toClient(Buffer.concat([bytes, Buffer.from([...head, ...result])]))
    },
  }
}

/** Passes everything on until a bind with this name comes; that one gets this result instead. */
export function bindAnswered(name: string, code: number, text: string): Fault {
  return {
    fromClient: (bytes, wire) => {
      const message = readMessage(bytes)
      if (message?.operation === bindRequest && bytes.includes(name)) {
        wire.toClient(ldapResult(message.id, bindResponse, code, text))
      } else wire.toServer(bytes)
    },
  }
}

/** Lets so many searches through and cuts the connection at the next. */
export function cutAfterSearches(count: number): Fault {
  let searches = 0
  return {
    fromClient: (bytes, wire) => {
      if (readMessage(bytes)?.operation === searchRequest) searches += 1
      if (searches > count) wire.cut()
      else wire.toServer(bytes)
    },
  }
}

/** A server that takes a bind's name for another: as Active Directory finds alice@realm. */
export function bindRenamed(names: Readonly<Record<string, string>>): Fault {
  return {
    fromClient: (bytes, wire) => {
      const bind = readBind(bytes)
      const name = names[bind?.name ?? '']
      const isMeant = bind !== undefined && name !== undefined
      wire.toServer(isMeant ? writeBind({ ...bind, name }) : bytes)
    },
  }
}

/** Answers come this many milliseconds late. */
export function slow(delayMs: number): Fault {
  return {
    fromServer: (bytes, wire) => {
      setTimeout(() => wire.toClient(bytes), delayMs).unref()
    },
  }
}

interface Bind {
  readonly id: number
  readonly name: string
  readonly password: string
}

/** The bind in a message; undefined for another message. */
function readBind(bytes: Buffer): Bind | undefined {
  const message = readMessage(bytes)
  if (message?.operation !== bindRequest) return undefined
  // Behind the version: the name, and the password in the choice "simple".
  const nameAt = bytes.indexOf(Buffer.from([0x02, 0x01, 0x03, 0x04])) + 3
  const name = readValue(bytes, nameAt)
  const password = readValue(bytes, name.end)
  return { id: message.id, name: name.text, password: password.text }
}

function writeBind({ id, name, password }: Bind): Buffer {
  const version = Buffer.from([0x02, 0x01, 0x03])
  const body = Buffer.concat([version, value(0x04, name), value(0x80, password)])
  return sequence(id, value(bindRequest, body))
}

function ldapResult(id: number, operation: number, code: number, text = ''): Buffer {
  const body = Buffer.concat([Buffer.from([0x0a, 0x01, code]), value(0x04, ''), value(0x04, text)])
  return sequence(id, value(operation, body))
}

function answerStartTls(answer: (id: number, wire: Wire) => void): Fault {
  return {
    fromClient: (bytes, wire) => {
      const message = readMessage(bytes)
      if (message?.operation === extendedRequest) answer(message.id, wire)
      else wire.toServer(bytes)
    },
  }
}

/** The identifier and the kind of a message that begins these bytes. */
function readMessage(bytes: Buffer): { id: number; operation: number } | undefined {
  if (bytes[0] !== 0x30) return undefined
  const at = bytes[1] === 0x82 ? 4 : bytes[1] === 0x81 ? 3 : 2
  const [tag, length, id, operation] = bytes.subarray(at)
  if (tag !== 0x02 || length !== 1 || id === undefined || operation === undefined) return undefined
  return { id, operation }
}

function readValue(bytes: Buffer, at: number): { text: string; end: number } {
  const short = bytes[at + 1] ?? 0
  const isLong = short === 0x82
  const from = at + (isLong ? 4 : short === 0x81 ? 3 : 2)
  const length = isLong ? bytes.readUInt16BE(at + 2) : short === 0x81 ? (bytes[at + 2] ?? 0) : short
  return { text: bytes.subarray(from, from + length).toString(), end: from + length }
}

function sequence(id: number, operation: Buffer): Buffer {
  return value(0x30, Buffer.concat([Buffer.from([0x02, 0x01, id]), operation]))
}

function value(tag: number, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content)
  const head = Buffer.alloc(4)
  head.writeUInt8(tag, 0)
  if (bytes.length < 128) {
    head.writeUInt8(bytes.length, 1)
    return Buffer.concat([head.subarray(0, 2), bytes])
  }
  head.writeUInt8(0x82, 1)
  head.writeUInt16BE(bytes.length, 2)
  return Buffer.concat([head, bytes])
}
