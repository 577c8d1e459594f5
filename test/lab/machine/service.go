// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// service is one started unit. Its fields are guarded by supervisor.mu.
type service struct {
	unit    Unit
	state   string // activating, active, deactivating, inactive, failed
	pid     int    // of the main process, 0 if none
	since   time.Time
	result  string        // how the last process ended
	readyCh chan struct{} // closed when ready, or when it is given up
	isReady bool
	stop    chan struct{} // closed to end it
	done    chan struct{} // closed when its goroutine ended
}

func (sv *service) setReady() {
	if sv.state == "activating" {
		sv.state = "active"
	}
	if !sv.isReady {
		sv.isReady = true
		close(sv.readyCh)
	}
}

// setState changes the state unless the service is being stopped.
func (s *supervisor) setState(sv *service, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sv.state != "deactivating" {
		sv.state = state
	}
}

// start starts a unit and waits until it is ready or fails. Starting a
// running unit does nothing.
func (s *supervisor) start(name string) error {
	u, err := ReadUnit(name, unitFolders...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if sv, ok := s.services[name]; ok && (sv.state == "active" || sv.state == "activating") {
		s.mu.Unlock()
		return nil
	}
	sv := &service{
		unit: u, state: "activating", since: time.Now(),
		readyCh: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
	}
	s.services[name] = sv
	s.mu.Unlock()
	go s.run(sv)
	select {
	case <-sv.readyCh:
	case <-sv.done:
	case <-time.After(90 * time.Second):
		return fmt.Errorf("unit %s is not ready after 90s (see %s/%s.log)", name, logDir, logName(name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sv.state == "failed" {
		return fmt.Errorf("unit %s failed: %s (see %s/%s.log)", name, sv.result, logDir, logName(name))
	}
	return nil
}

// stopUnit ends a unit: SIGTERM, and SIGKILL to its process group after 10 s.
func (s *supervisor) stopUnit(name string) {
	s.mu.Lock()
	sv, ok := s.services[name]
	if !ok {
		s.mu.Unlock()
		return
	}
	if sv.state == "active" || sv.state == "activating" {
		sv.state = "deactivating"
		close(sv.stop)
	}
	s.mu.Unlock()
	<-sv.done
}

// run is the life of a started unit: pre-commands, then the main process
// again and again as Restart says.
func (s *supervisor) run(sv *service) {
	defer close(sv.done)
	u := sv.unit
	log, err := os.OpenFile(filepath.Join(logDir, logName(u.Name)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.finish(sv, "failed", err.Error())
		return
	}
	defer log.Close()
	for {
		again, err := s.once(sv, log)
		select {
		case <-sv.stop:
			s.finish(sv, "inactive", "stopped")
			return
		default:
		}
		if !again {
			if err != nil {
				s.finish(sv, "failed", err.Error())
			} else {
				s.finish(sv, "inactive", "ended")
			}
			return
		}
		s.log.Info("service restarts", "unit", u.Name, "err", err)
		s.setState(sv, "activating")
		select {
		case <-sv.stop:
			s.finish(sv, "inactive", "stopped")
			return
		case <-time.After(max(u.RestartIn, 100*time.Millisecond)):
		}
	}
}

// once runs the unit's commands once and says whether it wants another round.
func (s *supervisor) once(sv *service, log *os.File) (again bool, err error) {
	u := sv.unit
	wantsAgain := func(err error) bool {
		return u.Restart == "always" || (u.Restart == "on-failure" && err != nil)
	}
	env, err := u.Environ()
	if err != nil {
		return wantsAgain(err), err
	}
	for _, line := range u.StartPre {
		if err := s.runOnce(line, u, env, log); err != nil {
			return wantsAgain(err), err
		}
	}
	if u.Type == "oneshot" {
		return s.oneshot(sv, env, log)
	}
	argv, _ := Argv(u.Start[0], env)
	if u.Type == "notify" {
		env = append(env, "NOTIFY_SOCKET="+notifyPath)
	}
	pid, exit, err := s.spawn(argv, env, u.Dir, log)
	if err != nil {
		return wantsAgain(err), err
	}
	s.mu.Lock()
	sv.pid = pid
	if u.Type != "notify" {
		sv.setReady()
	}
	s.mu.Unlock()
	ws := s.await(sv, pid, exit)
	for _, line := range u.StopPost {
		_ = s.runOnce(line, u, env, log)
	}
	if ws.ExitStatus() != 0 {
		err = fmt.Errorf("%s", exitText(ws))
	}
	s.mu.Lock()
	sv.pid, sv.result = 0, exitText(ws)
	s.mu.Unlock()
	return wantsAgain(err), err
}

func (s *supervisor) oneshot(sv *service, env []string, log *os.File) (bool, error) {
	for _, line := range sv.unit.Start {
		if err := s.runOnce(line, sv.unit, env, log); err != nil {
			return sv.unit.Restart == "on-failure", err
		}
	}
	if !sv.unit.Remain {
		return false, nil
	}
	s.mu.Lock()
	sv.setReady()
	s.mu.Unlock()
	<-sv.stop
	return false, nil
}

// await waits for the main process, ending it if the unit is stopped.
func (s *supervisor) await(sv *service, pid int, exit <-chan syscall.WaitStatus) syscall.WaitStatus {
	select {
	case ws := <-exit:
		return ws
	case <-sv.stop:
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case ws := <-exit:
		return ws
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return <-exit
}

func (s *supervisor) finish(sv *service, state, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv.state, sv.result, sv.pid = state, result, 0
	if !sv.isReady {
		sv.isReady = true
		close(sv.readyCh)
	}
	s.log.Info("service ended", "unit", sv.unit.Name, "state", state, "result", result)
}

// logName is the unit's name as people say it: kubelet, not kubelet.service.
func logName(unit string) string { return strings.TrimSuffix(unit, ".service") }
