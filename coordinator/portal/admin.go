package portal

import (
	"net/http"
	"strings"

	"easel/coordinator/api"
	"easel/coordinator/auth"
)

type adminData struct {
	Nodes    []api.Node
	Sessions homeData
	Accounts []auth.Account
}

// administrator is Identify for what only administrators may do.
func (p *Portal) administrator(r *http.Request) (auth.Who, error) {
	who, err := p.Guard.Identify(r)
	if err == nil && !who.Admin() {
		err = errNoPage // for everybody else these pages do not exist
	}
	return who, err
}

func (p *Portal) admin(w http.ResponseWriter, r *http.Request) error {
	who, err := p.administrator(r)
	if err != nil {
		return err
	}
	return p.showAdmin(w, r, http.StatusOK, who, "", "")
}

func (p *Portal) showAdmin(w http.ResponseWriter, r *http.Request, status int, who auth.Who, notice, fault string) error {
	list, err := p.Backend.ListSessions(r.Context(), who, true, false)
	if err != nil {
		return err
	}
	accounts, err := p.Guard.Store.Accounts(r.Context())
	if err != nil {
		return err
	}
	return p.show(w, status, "admin", page{Title: "Administration", Who: who, At: "admin", Notice: notice, Fault: fault, Data: adminData{
		Nodes: p.Backend.ListNodes(r.Context()), Sessions: homeData{SessionList: list, All: true, Back: "/admin"}, Accounts: accounts,
	}})
}

func (p *Portal) addAccount(w http.ResponseWriter, r *http.Request) error {
	who, err := p.administrator(r)
	if err != nil {
		return err
	}
	name := strings.TrimSpace(r.PostFormValue("name"))
	if _, err := p.Guard.Store.AddAccount(r.Context(), name, r.PostFormValue("role"), ""); err != nil {
		return p.adminFault(w, r, who, err)
	}
	p.Log.Info("account made", "user", name, "by", who.Name)
	return p.showLink(w, r, who, name)
}

func (p *Portal) accountLink(w http.ResponseWriter, r *http.Request) error {
	who, err := p.administrator(r)
	if err != nil {
		return err
	}
	return p.showLink(w, r, who, r.PathValue("name"))
}

type linkData struct{ User, URL string }

// showLink shows a one-time link for an account; it is not stored and cannot be shown again.
func (p *Portal) showLink(w http.ResponseWriter, r *http.Request, who auth.Who, name string) error {
	code, err := p.Guard.Store.NewLink(r.Context(), name)
	if err != nil {
		return p.adminFault(w, r, who, err)
	}
	p.Log.Info("one-time link made", "user", name, "by", who.Name)
	return p.show(w, http.StatusOK, "link", page{Title: "Sign-in link", Who: who, At: "admin", Data: linkData{
		User: name, URL: p.Guard.Public.String() + "/signin?once=" + code,
	}})
}

func (p *Portal) removeAccount(w http.ResponseWriter, r *http.Request) error {
	who, err := p.administrator(r)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if err := p.Guard.Store.RemoveAccount(r.Context(), name); err != nil {
		return p.adminFault(w, r, who, err)
	}
	p.Log.Info("account removed", "user", name, "by", who.Name)
	if _, err := p.Nodes.EndAll(r.Context(), name); err != nil {
		p.Log.Error("not all sessions of a removed account could be ended", "user", name, "error", err)
		return p.showAdmin(w, r, http.StatusOK, who, "", "The account "+name+" is removed, but not all its sessions could be ended; end them below.")
	}
	if name == who.Name {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return nil
	}
	return p.showAdmin(w, r, http.StatusOK, who, "The account "+name+" is removed, and its sessions are ended.", "")
}

// adminFault shows what an administrator can mend on the page itself.
func (p *Portal) adminFault(w http.ResponseWriter, r *http.Request, who auth.Who, err error) error {
	problem, _ := api.Explain(err)
	if problem.Status >= http.StatusInternalServerError {
		return err
	}
	return p.showAdmin(w, r, problem.Status, who, "", sentence(problem.Detail))
}
