// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"
)

// How long a rotation stays in each of its stages.
const (
	// Announce is how long the next authority is in the bundle before it signs:
	// whoever has not read the bundle for so long needs a new certificate anyway.
	Announce = Lifetime
	// Retire is how long the last one stays: what it signed last has ended.
	Retire = Lifetime + time.Hour
)

// NoteAuthority is the code of the Note about a Secret that does not hold an
// authority: nothing is signed until somebody has mended it.
const NoteAuthority = "tunnel-authority-damaged"

// Vault is the Secret of the authority. A rotation goes
//
//	Sign A  -->  Sign A, Next B  -->  Sign B, Old A  -->  Sign B
//	        wish or age         Announce            Retire
type Vault struct {
	Sign Authority
	Next *Authority
	Old  *x509.Certificate
	// Since is when the present stage began.
	Since time.Time
}

// Keys of the Secret.
const (
	keySign, keySignKey = "sign.crt", "sign.key"
	keyNext, keyNextKey = "next.crt", "next.key"
	keyOld, keySince    = "old.crt", "since"
)

// NewVault makes a vault with a first authority.
func NewVault(random io.Reader, now time.Time) (Vault, error) {
	a, err := NewAuthority(random, now)
	return Vault{Sign: a, Since: now}, err
}

// Advance returns the vault as it should be now, and whether that differs.
// rotate is when somebody wished for another authority; zero if nobody did.
func (v Vault) Advance(random io.Reader, now, rotate time.Time) (Vault, bool, error) {
	switch {
	case v.Next != nil:
		if now.Sub(v.Since) < Announce {
			return v, false, nil
		}
		return Vault{Sign: *v.Next, Old: v.Sign.Certificate, Since: now}, true, nil
	case v.Old != nil:
		if now.Sub(v.Since) < Retire {
			return v, false, nil
		}
		return Vault{Sign: v.Sign, Since: now}, true, nil
	}
	made := Signed(v.Sign.Certificate)
	aged := now.Sub(made) > AuthorityLife/3*2
	if !aged && (!rotate.After(made) || rotate.After(now)) {
		return v, false, nil
	}
	next, err := NewAuthority(random, now)
	if err != nil {
		return v, false, err
	}
	return Vault{Sign: v.Sign, Next: &next, Since: now}, true, nil
}

// Bundle returns what all have to trust now, as PEM; nothing for a zero Vault.
func (v Vault) Bundle() []byte {
	if v.Sign.Certificate == nil {
		return nil
	}
	out := encodeCertificate(v.Sign.Certificate.Raw)
	if v.Next != nil {
		out = append(out, encodeCertificate(v.Next.Certificate.Raw)...)
	}
	if v.Old != nil {
		out = append(out, encodeCertificate(v.Old.Raw)...)
	}
	return out
}

// Encode returns the data of the Secret.
func (v Vault) Encode() (map[string][]byte, error) {
	out := map[string][]byte{keySince: []byte(v.Since.UTC().Format(time.RFC3339))}
	put := func(a Authority, certificate, key string) error {
		text, err := EncodeKey(a.key)
		out[certificate], out[key] = encodeCertificate(a.Certificate.Raw), text
		return err
	}
	err := put(v.Sign, keySign, keySignKey)
	if v.Next != nil {
		err = errors.Join(err, put(*v.Next, keyNext, keyNextKey))
	}
	if v.Old != nil {
		out[keyOld] = encodeCertificate(v.Old.Raw)
	}
	return out, err
}

// DecodeVault reads the data of the Secret. ok is false where the Secret is
// empty, as the chart makes it. A Secret that holds anything else than a whole
// vault is an error and never a reason to make another authority: all agents
// would be cut off, and somebody may have a backup.
func DecodeVault(data map[string][]byte) (v Vault, ok bool, err error) {
	if len(data) == 0 {
		return Vault{}, false, nil
	}
	if v.Sign, err = decodeAuthority(data, keySign, keySignKey); err != nil {
		return Vault{}, false, err
	}
	if v.Since, err = time.Parse(time.RFC3339, string(data[keySince])); err != nil {
		return Vault{}, false, fmt.Errorf("read %s: %w", keySince, err)
	}
	if len(data[keyNext])+len(data[keyNextKey]) > 0 {
		next, err := decodeAuthority(data, keyNext, keyNextKey)
		if err != nil {
			return Vault{}, false, err
		}
		v.Next = &next
	}
	if len(data[keyOld]) > 0 {
		old, err := one(data[keyOld])
		if err != nil {
			return Vault{}, false, fmt.Errorf("read %s: %w", keyOld, err)
		}
		v.Old = old
	}
	return v, true, nil
}

func decodeAuthority(data map[string][]byte, certificate, key string) (Authority, error) {
	c, err := one(data[certificate])
	if err != nil {
		return Authority{}, fmt.Errorf("read %s: %w", certificate, err)
	}
	k, err := DecodeKey(data[key])
	if err != nil {
		return Authority{}, fmt.Errorf("read %s: %w", key, err)
	}
	return readAuthority(c.Raw, k)
}

func one(text []byte) (*x509.Certificate, error) {
	all, err := ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("there are %d certificates", len(all))
	}
	return all[0], nil
}

// Equal reports whether both hold the same authorities in the same places. The
// zero Vault holds none.
func (v Vault) Equal(w Vault) bool {
	return (v.Next == nil) == (w.Next == nil) && bytes.Equal(v.Bundle(), w.Bundle())
}
